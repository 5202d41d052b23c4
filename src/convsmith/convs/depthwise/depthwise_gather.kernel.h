// SPDX-License-Identifier: Apache-2.0
// Pixels of kLanes channels each, gathered from and scattered to any layout. Rows of a contiguous
// image are turned four columns at a time.

struct DepthwiseLanes {
  const float* from[kLanes];  // each lane's image; beyond the last channel any one
  std::int64_t row_stride, column_stride;

  void gather_row(std::int64_t row, std::int64_t first, std::int64_t columns, float* pixels) const {
    const std::int64_t offset = row * row_stride + first * column_stride;
    std::int64_t j = 0;
    if (column_stride == 1) {
      const float* lanes[kLanes];
      for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = from[lane] + offset;
      for (; j + 4 <= columns; j += 4, pixels += 4 * kLanes) {
        Vec four[4];
        for (int i = 0; i < 4; ++i) four[i] = load_quads(lanes + i);
        transpose_quads(four);
        for (int i = 0; i < 4; ++i) store(pixels + i * kLanes, four[i]);
        for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += 4;
      }
    } else if (neighbours()) {
      for (; j < columns; ++j, pixels += kLanes)
        store(pixels, load(from[0] + offset + j * column_stride));
    }
    for (; j < columns; ++j, pixels += kLanes)
      for (std::int64_t lane = 0; lane < kLanes; ++lane)
        pixels[lane] = from[lane][offset + j * column_stride];
  }

  // Whether the lanes lie side by side in memory.
  bool neighbours() const {
    for (std::int64_t lane = 1; lane < kLanes; ++lane)
      if (from[lane] != from[0] + lane) return false;
    return true;
  }
};

// The first `lanes` of each pixel to y, where channels and columns are these steps apart.
inline void scatter_row(const float* pixels, std::int64_t columns, std::int64_t lanes, float* y,
                        std::int64_t channel_stride, std::int64_t column_stride) {
  std::int64_t j = 0;
  if (column_stride == 1 && lanes == kLanes) {
    float* to[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane) to[lane] = y + lane * channel_stride;
    for (; j + 4 <= columns; j += 4) {
      Vec four[4];
      for (int i = 0; i < 4; ++i) four[i] = load(pixels + (j + i) * kLanes);
      transpose_quads(four);
      for (int i = 0; i < 4; ++i) store_quads(to + i, four[i]);
      for (std::int64_t lane = 0; lane < kLanes; ++lane) to[lane] += 4;
    }
  }
  for (; j < columns; ++j)
    for (std::int64_t lane = 0; lane < lanes; ++lane)
      y[lane * channel_stride + j * column_stride] = pixels[j * kLanes + lane];
}

// Each channel of a pixel `times` over. Two is the multiplier that occurs, and written out the
// compiler sees vectors in it.
inline void repeat_channels(const float* __restrict from, std::int64_t channels, std::int64_t times,
                            float* __restrict to) {
  if (times == 2) {
    for (std::int64_t c = 0; c < channels; ++c) {
      to[2 * c] = from[c];
      to[2 * c + 1] = from[c];
    }
    return;
  }
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t j = 0; j < times; ++j) to[c * times + j] = from[c];
}
