// What the emulated compiler makes and the emulated driver loads: a shared library behind a header.
#pragma once

namespace suture {

constexpr char IMAGE_MAGIC[8] = {'S', 'U', 'T', 'U', 'R', 'E', '\n', '1'};

struct ImageHeader {
  char magic[8];
  unsigned long long bytes;
};

}  // namespace suture
