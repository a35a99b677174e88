// The WKV7 recurrence for bench/peer.py, forward and backward, as a PyTorch operator.
//
// One head's state S [value, key] is kept as [key][value], so that every product along the key is a
// chain of vector FMAs with a broadcast and nothing is reduced across lanes in the forward pass:
//
//   sa_t = S_{t-1}·kappa_t        S_t = S_{t-1}·diag(w_t) − sa_t⊗b_t + v_t⊗k_t        y_t = S_t·r_t
//
// with b = a⊙kappa. The forward pass computes sa_{t+1} while it writes S_t: one sweep a token. It
// keeps the state at the start of every chunk of 16 tokens, and sa; the backward pass rebuilds a
// chunk's states from those and walks it in reverse. Tasks are (batch, head) pairs.
//
// Built by peer.py: g++ -O3 -march=native, against the headers of the installed torch.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cstdlib>
#include <memory>

namespace {

constexpr int CHUNK = 16;

template <int LANES> struct Lane;
template <> struct Lane<16> { typedef float type __attribute__((vector_size(64), aligned(4), may_alias)); };
template <> struct Lane<8> { typedef float type __attribute__((vector_size(32), aligned(4), may_alias)); };

/** Sums of `N` vectors across their lanes: out[j] (+)= scale * sum(rows[j]). */
template <int N>
inline void reduceRows(const typename Lane<16>::type* rows, float* out) {
  using V = typename Lane<16>::type;
  for (int g = 0; g < N; g += 16) {
    const V* p = rows + g;
    V a[8], b[4], c[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {  // lanes 2m, 2m+1: pairs of row i and of row i + 8
      a[i] = __builtin_shufflevector(p[i], p[i + 8], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
             __builtin_shufflevector(p[i], p[i + 8], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      b[i] = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
             __builtin_shufflevector(a[i], a[i + 4], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
      c[i] = __builtin_shufflevector(b[i], b[i + 2], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
             __builtin_shufflevector(b[i], b[i + 2], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
    V d = __builtin_shufflevector(c[0], c[1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
          __builtin_shufflevector(c[0], c[1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    // lane l of d holds the row with bits: bit0 → +8, bit1 → +4, bit2 → +2, bit3 → +1
    d = __builtin_shufflevector(d, d, 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15);
    *reinterpret_cast<V*>(out + g) = d;
  }
}

template <int N>
inline void reduceRows(const typename Lane<8>::type* rows, float* out) {
  for (int j = 0; j < N; j++) {
    float s = 0;
    for (int l = 0; l < 8; l++) s += rows[j][l];
    out[j] = s;
  }
}

template <int N>
struct Head {
  static constexpr int LANES = N < 16 ? 8 : 16;
  static constexpr int VECS = N / LANES;
  using V = typename Lane<LANES>::type;

  static V* row(float* m, int j) { return reinterpret_cast<V*>(m + j * N); }
  static const V* row(const float* m, int j) { return reinterpret_cast<const V*>(m + j * N); }

  /** S ← S·diag(w) − sa⊗b + v⊗k. */
  static void update(const float* from, float* to, const float* w, const float* b, const float* k,
                     const V (&sa)[VECS], const V (&v)[VECS]) {
    for (int j = 0; j < N; j++) {
      const V* s = row(from, j);
      V* d = row(to, j);
#pragma GCC unroll 8
      for (int i = 0; i < VECS; i++) d[i] = s[i] * w[j] - sa[i] * b[j] + v[i] * k[j];
    }
  }

  static void forward(const float* r, const float* w, const float* k, const float* v, const float* kappa,
                      const float* a, const float* state0, int64_t T, int64_t stride, float* y, float* sa,
                      float* state, float* checkpoints) {
    alignas(64) float S[N * N], b[N];
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) S[j * N + i] = state0[i * N + j];
    V now[VECS] = {};
    for (int j = 0; j < N; j++)
      for (int i = 0; i < VECS; i++) now[i] += row(S, j)[i] * kappa[j];
    for (int64_t t = 0; t < T; t++) {
      const int64_t at = t * stride;
      if (t % CHUNK == 0) std::copy(S, S + N * N, checkpoints + (t / CHUNK) * N * N);
      const float *wt = w + at, *kt = k + at, *rt = r + at, *kappat = kappa + at, *at_ = a + at;
      const float* next = kappa + (t + 1 < T ? at + stride : at);
      for (int j = 0; j < N; j++) b[j] = kappat[j] * at_[j];
      V yt[VECS] = {}, soon[VECS] = {}, vt[VECS];
#pragma GCC unroll 8
      for (int i = 0; i < VECS; i++) vt[i] = row(v + at, 0)[i], row(sa + at, 0)[i] = now[i];
      for (int j = 0; j < N; j++) {
        V* s = row(S, j);
#pragma GCC unroll 8
        for (int i = 0; i < VECS; i++) {
          const V x = s[i] * wt[j] - now[i] * b[j] + vt[i] * kt[j];
          s[i] = x;
          yt[i] += x * rt[j];
          soon[i] += x * next[j];
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < VECS; i++) row(y + at, 0)[i] = yt[i], now[i] = soon[i];
    }
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) state[i * N + j] = S[j * N + i];
  }

  struct Scratch {
    alignas(64) float states[(CHUNK + 1) * N * N];
    alignas(64) float dS[N * N];
    alignas(64) V dr[N], dk[N], dw[N], db[N], dkappa[N];
  };

  static void backward(Scratch& m, const float* r, const float* w, const float* k, const float* v,
                       const float* kappa, const float* a, const float* sa, const float* checkpoints,
                       const float* dy, const float* dstate, int64_t T, int64_t stride, float* dr, float* dw,
                       float* dk, float* dv, float* dkappa, float* da, float* dstate0) {
    float* dS = m.dS;
    alignas(64) float b[N], db[N];
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) dS[j * N + i] = dstate[i * N + j];
    for (int64_t chunk = (T + CHUNK - 1) / CHUNK - 1; chunk >= 0; chunk--) {
      const int64_t first = chunk * CHUNK, last = std::min(T, first + CHUNK);
      std::copy(checkpoints + chunk * N * N, checkpoints + (chunk + 1) * N * N, m.states);
      for (int64_t t = first; t < last; t++) {
        const int64_t at = t * stride;
        for (int j = 0; j < N; j++) b[j] = kappa[at + j] * a[at + j];
        V sat[VECS], vt[VECS];
        for (int i = 0; i < VECS; i++) sat[i] = row(sa + at, 0)[i], vt[i] = row(v + at, 0)[i];
        float* s = m.states + (t - first) * N * N;
        update(s, s + N * N, w + at, b, k + at, sat, vt);
      }
      for (int64_t t = last - 1; t >= first; t--) {
        const int64_t at = t * stride;
        const float* before = m.states + (t - first) * N * N;
        const float* after = before + N * N;
        const float *wt = w + at, *kt = k + at, *rt = r + at, *kappat = kappa + at;
        for (int j = 0; j < N; j++) b[j] = kappat[j] * a[at + j];
        V dyt[VECS], vt[VECS], sat[VECS], dvt[VECS] = {}, dsa[VECS] = {};
#pragma GCC unroll 8
        for (int i = 0; i < VECS; i++)
          dyt[i] = row(dy + at, 0)[i], vt[i] = row(v + at, 0)[i], sat[i] = row(sa + at, 0)[i];
        for (int j = 0; j < N; j++) {
          V *d = row(dS, j);
          const V *s0 = row(before, j), *s1 = row(after, j);
          V pr = {}, pk = {}, pw = {}, pb = {};
#pragma GCC unroll 8
          for (int i = 0; i < VECS; i++) {
            const V x = d[i] + dyt[i] * rt[j];
            d[i] = x;
            pr += s1[i] * dyt[i];
            pk += x * vt[i];
            pw += x * s0[i];
            pb -= x * sat[i];
            dvt[i] += x * kt[j];
            dsa[i] -= x * b[j];
          }
          m.dr[j] = pr, m.dk[j] = pk, m.dw[j] = pw, m.db[j] = pb;
        }
        for (int j = 0; j < N; j++) {
          V* d = row(dS, j);
          const V* s0 = row(before, j);
          V p = {};
#pragma GCC unroll 8
          for (int i = 0; i < VECS; i++) {
            p += s0[i] * dsa[i];
            d[i] = d[i] * wt[j] + dsa[i] * kappat[j];
          }
          m.dkappa[j] = p;
        }
#pragma GCC unroll 8
        for (int i = 0; i < VECS; i++) row(dv + at, 0)[i] = dvt[i];
        reduceRows<N>(m.dr, dr + at);
        reduceRows<N>(m.dk, dk + at);
        reduceRows<N>(m.dw, dw + at);
        reduceRows<N>(m.db, db);
        reduceRows<N>(m.dkappa, dkappa + at);
        for (int j = 0; j < N; j++) {
          da[at + j] = db[j] * kappat[j];
          dkappa[at + j] += db[j] * a[at + j];
        }
      }
    }
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) dstate0[i * N + j] = dS[j * N + i];
  }
};

void check(const at::Tensor& x, const char* name, at::IntArrayRef shape) {
  TORCH_CHECK(x.sizes() == shape, name, ": expected shape ", shape, ", found ", x.sizes());
  TORCH_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous(), name, ": expected contiguous float32");
}

template <typename F>
void withWidth(int64_t N, F&& f) {
  switch (N) {
    case 8: return f(std::integral_constant<int, 8>());
    case 32: return f(std::integral_constant<int, 32>());
    case 64: return f(std::integral_constant<int, 64>());
    case 128: return f(std::integral_constant<int, 128>());
    default: TORCH_CHECK(false, "wkv7: head width ", N, " is not built; 8, 32, 64 and 128 are");
  }
}

/** Inputs [B,T,H,N] and state [B,H,N,N]; gives y, the final state, sa and the states at chunk starts. */
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& r, const at::Tensor& w, const at::Tensor& k, const at::Tensor& v, const at::Tensor& kappa,
    const at::Tensor& a, const at::Tensor& state0) {
  const int64_t B = r.size(0), T = r.size(1), H = r.size(2), N = r.size(3), chunks = (T + CHUNK - 1) / CHUNK;
  check(r, "r", {B, T, H, N}), check(w, "w", {B, T, H, N}), check(k, "k", {B, T, H, N});
  check(v, "v", {B, T, H, N}), check(kappa, "kappa", {B, T, H, N}), check(a, "a", {B, T, H, N});
  check(state0, "state", {B, H, N, N});
  at::Tensor y = at::empty_like(r), sa = at::empty_like(r), state = at::empty_like(state0);
  at::Tensor checkpoints = at::empty({B, H, chunks, N, N}, r.options());
  const float *pr = r.const_data_ptr<float>(), *pw = w.const_data_ptr<float>(), *pk = k.const_data_ptr<float>(),
              *pv = v.const_data_ptr<float>(), *pkappa = kappa.const_data_ptr<float>(),
              *pa = a.const_data_ptr<float>(), *ps = state0.const_data_ptr<float>();
  float *py = y.data_ptr<float>(), *psa = sa.data_ptr<float>(), *pstate = state.data_ptr<float>(),
        *pc = checkpoints.data_ptr<float>();
  withWidth(N, [&](auto width) {
    at::parallel_for(0, B * H, 1, [&](int64_t begin, int64_t end) {
      for (int64_t bh = begin; bh < end; bh++) {
        const int64_t o = (bh / H) * T * H * N + (bh % H) * N, s = bh * N * N;
        Head<width>::forward(pr + o, pw + o, pk + o, pv + o, pkappa + o, pa + o, ps + s, T, H * N, py + o, psa + o,
                             pstate + s, pc + s * chunks);
      }
    });
  });
  return {y, state, sa, checkpoints};
}

/** Gradients of r, w, k, v, kappa, a and the initial state. */
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& r, const at::Tensor& w, const at::Tensor& k, const at::Tensor& v, const at::Tensor& kappa,
    const at::Tensor& a, const at::Tensor& sa, const at::Tensor& checkpoints, const at::Tensor& dy,
    const at::Tensor& dstate) {
  const int64_t B = r.size(0), T = r.size(1), H = r.size(2), N = r.size(3), chunks = (T + CHUNK - 1) / CHUNK;
  check(dy, "dy", {B, T, H, N}), check(dstate, "dstate", {B, H, N, N}), check(sa, "sa", {B, T, H, N});
  check(checkpoints, "checkpoints", {B, H, chunks, N, N});
  at::Tensor dr = at::empty_like(r), dw = at::empty_like(r), dk = at::empty_like(r), dv = at::empty_like(r),
             dkappa = at::empty_like(r), da = at::empty_like(r), dstate0 = at::empty_like(dstate);
  const float *pr = r.const_data_ptr<float>(), *pw = w.const_data_ptr<float>(), *pk = k.const_data_ptr<float>(),
              *pv = v.const_data_ptr<float>(), *pkappa = kappa.const_data_ptr<float>(),
              *pa = a.const_data_ptr<float>(), *psa = sa.const_data_ptr<float>(),
              *pc = checkpoints.const_data_ptr<float>(), *pdy = dy.const_data_ptr<float>(),
              *pds = dstate.const_data_ptr<float>();
  float *qr = dr.data_ptr<float>(), *qw = dw.data_ptr<float>(), *qk = dk.data_ptr<float>(), *qv = dv.data_ptr<float>(),
        *qkappa = dkappa.data_ptr<float>(), *qa = da.data_ptr<float>(), *qs = dstate0.data_ptr<float>();
  withWidth(N, [&](auto width) {
    using Scratch = typename Head<width>::Scratch;
    at::parallel_for(0, B * H, 1, [&](int64_t begin, int64_t end) {
      thread_local std::unique_ptr<Scratch> scratch(new Scratch);
      for (int64_t bh = begin; bh < end; bh++) {
        const int64_t o = (bh / H) * T * H * N + (bh % H) * N, s = bh * N * N;
        Head<width>::backward(*scratch, pr + o, pw + o, pk + o, pv + o, pkappa + o, pa + o, psa + o, pc + s * chunks,
                              pdy + o, pds + s, T, H * N, qr + o, qw + o, qk + o, qv + o, qkappa + o, qa + o, qs + s);
      }
    });
  });
  return {dr, dw, dk, dv, dkappa, da, dstate0};
}

}  // namespace

TORCH_LIBRARY(peer, m) {
  m.def("wkv7(Tensor r, Tensor w, Tensor k, Tensor v, Tensor kappa, Tensor a, Tensor state)"
        " -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("wkv7_backward(Tensor r, Tensor w, Tensor k, Tensor v, Tensor kappa, Tensor a, Tensor sa,"
        " Tensor checkpoints, Tensor dy, Tensor dstate)"
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(peer, CPU, m) {
  m.impl("wkv7", &forward);
  m.impl("wkv7_backward", &backward);
}
