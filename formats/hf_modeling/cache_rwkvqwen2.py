"""What earlier tokens leave behind: `past_key_values` of decoders with RWKV layers."""

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer


class RwkvCacheLayer(CacheLayerMixin):
    """What one RWKV layer remembers: the same amount after any number of tokens."""

    def __init__(self):
        super().__init__()
        self.wkv: Tensor | None = None  # [batch, heads, width, width], f32
        self.shift: Tensor | None = None  # [batch, 1, hidden], the input of the token before
        self.seen = 0  # tokens, padding included

    def _change(self, change):
        self.wkv, self.shift = (t if t is None else change(t) for t in (self.wkv, self.shift))

    def get_seq_length(self):
        return self.seen

    def get_max_length(self):
        return -1

    def get_mask_sizes(self, query_length):
        return self.seen + query_length, 0

    def reset(self):
        self.wkv, self.shift, self.seen = None, None, 0

    def batch_select_indices(self, indices):
        self._change(lambda t: t[indices.to(t.device)])

    def reorder_cache(self, beam_idx):
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats):
        self._change(lambda t: t.repeat_interleave(repeats, dim=0))

    def offload(self):
        self._change(lambda t: t.to("cpu"))

    def prefetch(self):
        pass  # the forward pass moves it

    def lazy_initialization(self, key_states, value_states):
        raise TypeError("an RWKV layer has no keys and values to keep")

    def update(self, key_states, value_states, *args, **kwargs):
        raise TypeError("an RWKV layer has no keys and values to keep")

    def crop(self, *args, **kwargs):
        raise ValueError("the state of an RWKV layer cannot go back: tokens cannot be taken away")


class RwkvCache(Cache):
    """`past_key_values` of these models: a state for RWKV layers, keys and values for others."""

    def __init__(self, config):
        kept = map(config.keeps_attention, range(config.num_hidden_layers))
        super().__init__(layers=[DynamicLayer() if k else RwkvCacheLayer() for k in kept])
