// SPDX-License-Identifier: Apache-2.0
// Involution's multiply-add, float32, contiguous NCHW, with group = c / (C / groups):
//
//   y[n, c, i, j] = sum_{r,s} kernels[n, group, r*kernel_w + s, i, j]
//                             * x[n, c, i*stride_h + r*dilation_h - top,
//                                       j*stride_w + s*dilation_w - left]
//
// The sum runs over the taps that read the image, in the order of r, then s, whatever the target
// and the number of threads; the others are skipped, so a kernel value that meets only padding does
// not matter.
//
// Vectors lie along the output's positions, where the kernels differ and their values for one tap
// lie side by side. At stride 1 with an output as wide as the image the pixels that a tap reads do
// so, too, on across the ends of rows: a vector takes positions of several rows, and small maps
// fill it. Else it takes positions of one row; at a stride along w, pixels a stride apart are laid
// side by side first, in a ring of rows.
//
// Masks leave out what lies outside of the image, one for each row and one for each column of taps.
// Eight channels of a group use a kernel while it is in a register. Bound by loads: nine for eight
// multiply-adds, and the masks.

struct Involution2dArgs {
  const float* x;        // (n, c, h, w)
  const float* kernels;  // (n, groups, kernel_h * kernel_w, out_h, out_w)
  float* y;              // (n, c, out_h, out_w); overlaps neither
  std::int64_t n, c, h, w, groups, kernel_h, kernel_w, out_h, out_w;
  std::int64_t stride_h, stride_w, top, left, dilation_h, dilation_w;
  std::int64_t num_threads;
};

inline Status check(const Involution2dArgs& a) {
  for (std::int64_t count : {a.n, a.c, a.h, a.w, a.out_h, a.out_w, a.top, a.left})
    if (count < 0) return Status::bad_sizes;
  for (std::int64_t step :
       {a.groups, a.kernel_h, a.kernel_w, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w})
    if (step < 1) return Status::bad_sizes;
  if (a.c % a.groups != 0) return Status::bad_sizes;

  const std::int64_t float_size = sizeof(float);
  std::int64_t bytes;
  const bool fits =
      product_fits(bytes, float_size, a.n, a.c, a.h, a.w) &&
      product_fits(bytes, float_size, a.n, a.c, a.out_h, a.out_w) &&
      product_fits(bytes, float_size, a.n, a.groups, a.kernel_h, a.kernel_w, a.out_h, a.out_w) &&
      positions_fit(a.h, a.out_h, a.stride_h, a.top, a.kernel_h, a.dilation_h) &&
      positions_fit(a.w, a.out_w, a.stride_w, a.left, a.kernel_w, a.dilation_w);
  return fits ? Status::ok : Status::overflow;
}

// A column of taps: from an output's column to the pixel it reads, and the outputs [begin, end)
// that read inside the image.
struct InvolutionColumn {
  std::int64_t shift, begin, end;
};

// How outputs are cut into vectors, and where the pixels that they read lie.
struct InvolutionMap {
  const Involution2dArgs& a;
  const bool is_flat = a.stride_h == 1 && a.stride_w == 1 && a.out_w == a.w;
  const std::int64_t line = is_flat ? a.out_h * a.out_w : a.out_w;  // positions in a run of vectors
  const std::int64_t line_vectors = divide_up(line, kLanes);
  const std::int64_t vectors = is_flat ? line_vectors : a.out_h * line_vectors;
  const std::int64_t channels = a.c / a.groups;  // of one group
  const std::int64_t taps = a.kernel_h * a.kernel_w;

  const bool has_ring = a.stride_w > 1;
  const std::int64_t span_h = (a.kernel_h - 1) * a.dilation_h + 1;
  const std::int64_t places = has_ring ? std::min(a.h, span_h) : a.h;
  const std::int64_t phase_pitch = divide_up(a.w, a.stride_w);
  const std::int64_t row_pitch = has_ring ? a.stride_w * phase_pitch : a.w;
  const std::int64_t channel_pitch = places * row_pitch;

  InvolutionColumn column(std::int64_t tap) const {
    const std::int64_t first = tap * a.dilation_w - a.left;  // what output 0 reads
    // Its phase among the pixels a stride apart, and its place there: division towards below.
    const std::int64_t phase = (first % a.stride_w + a.stride_w) % a.stride_w;
    const std::int64_t place = (first - phase) / a.stride_w;
    const std::int64_t in_phase = phase < a.w ? divide_up(a.w - phase, a.stride_w) : 0;
    const std::int64_t begin = std::clamp<std::int64_t>(-place, 0, a.out_w);
    return {phase * phase_pitch + place, begin,
            std::clamp<std::int64_t>(in_phase - place, begin, a.out_w)};
  }
};

// Positions of one vector: `count` from (row, column) on.
struct InvolutionVector {
  std::int64_t row, column, count;

  InvolutionVector(const InvolutionMap& map, std::int64_t number) {
    const std::int64_t first = number % map.line_vectors * kLanes;
    row = map.is_flat ? first / map.a.out_w : number / map.line_vectors;
    column = first % map.a.out_w;
    count = std::min(kLanes, map.line - first);
  }
};

// A thread's passes over the vectors of one group after another.
class InvolutionPass {
 public:
  static std::int64_t scratch_floats(const InvolutionMap& map) {
    return table_floats(map) + (map.has_ring ? map.channels * map.channel_pitch : 0);
  }

  InvolutionPass(const InvolutionMap& map, float* scratch)
      : map(map),
        a(map.a),
        columns(reinterpret_cast<InvolutionColumn*>(scratch)),
        column_lanes(reinterpret_cast<std::uint32_t*>(columns + a.kernel_w)),
        row_lanes(column_lanes + a.kernel_w),
        ring(scratch + table_floats(map)) {
    for (std::int64_t s = 0; s < a.kernel_w; ++s) columns[s] = map.column(s);
  }

  // Vectors [begin, end) of a group, counted over the whole batch.
  void run(std::int64_t group, std::int64_t begin, std::int64_t end) {
    const float* const image = a.x + group * map.channels * a.h * a.w;
    const float* const kernels = a.kernels + group * map.taps * a.out_h * a.out_w;
    std::int64_t next_row = 0;  // of the image, to be laid in the ring
    for (std::int64_t number = begin; number < end; ++number) {
      const InvolutionVector at(map, number);
      if (map.has_ring) next_row = fill_ring(image, at.row * a.stride_h - a.top, next_row);
      const bool is_inside = find_lanes(at);
      const std::int64_t position = at.row * a.out_w + at.column;
      for (std::int64_t c = 0; c < map.channels; c += kChannels) {
        const float* x = (map.has_ring ? ring : image) + c * map.channel_pitch;
        float* y = a.y + (group * map.channels + c) * a.out_h * a.out_w + position;
        with_num_rows<kChannels>(std::min<std::int64_t>(kChannels, map.channels - c), [&](auto n) {
          if (is_inside)
            sum<true, n()>(at, x, kernels + position, y);
          else
            sum<false, n()>(at, x, kernels + position, y);
        });
      }
    }
  }

 private:
  static constexpr int kChannels = 8;

  static std::int64_t table_floats(const InvolutionMap& map) {
    const std::int64_t column = sizeof(InvolutionColumn) / sizeof(float) + 1;
    return divide_up(map.a.kernel_w * column + map.a.kernel_h, kLanes) * kLanes;
  }

  // Lays the rows that an output reads, from `top_row` on, side by side by phase; those before
  // `next_row` lie there. Returns the row after them.
  std::int64_t fill_ring(const float* image, std::int64_t top_row, std::int64_t next_row) {
    const std::int64_t end = std::min(top_row + map.span_h, a.h);
    for (std::int64_t row = std::max({top_row, next_row, std::int64_t{0}}); row < end; ++row)
      for (std::int64_t c = 0; c < map.channels; ++c) {
        const float* from = image + (c * a.h + row) * a.w;
        float* to = ring + c * map.channel_pitch + row % map.places * map.row_pitch;
        for (std::int64_t phase = 0; phase < std::min(a.stride_w, a.w); ++phase)
          for (std::int64_t i = 0; i < divide_up(a.w - phase, a.stride_w); ++i)
            to[phase * map.phase_pitch + i] = from[phase + i * a.stride_w];
      }
    return std::max(next_row, end);
  }

  // Which lanes read inside the image, by row and by column of taps. Returns whether all do.
  bool find_lanes(const InvolutionVector& at) {
    std::fill_n(row_lanes, a.kernel_h, 0);
    std::fill_n(column_lanes, a.kernel_w, 0);
    std::int64_t row = at.row, column = at.column, count;
    for (std::int64_t lane = 0; lane < at.count; lane += count, ++row, column = 0) {
      count = std::min(at.count - lane, a.out_w - column);
      for (std::int64_t r = 0; r < a.kernel_h; ++r) {
        const std::int64_t reads = row * a.stride_h + r * a.dilation_h - a.top;
        if (reads >= 0 && reads < a.h) row_lanes[r] |= lanes(lane, count);
      }
      for (std::int64_t s = 0; s < a.kernel_w; ++s) {
        const std::int64_t begin = std::max(columns[s].begin, column);
        const std::int64_t end = std::min(columns[s].end, column + count);
        if (begin < end) column_lanes[s] |= lanes(lane + begin - column, end - begin);
      }
    }
    std::uint32_t common = lanes(0, kLanes);
    for (std::int64_t r = 0; r < a.kernel_h; ++r) common &= row_lanes[r];
    for (std::int64_t s = 0; s < a.kernel_w; ++s) common &= column_lanes[s];
    return common == lanes(0, kLanes);
  }

  static std::uint32_t lanes(std::int64_t first, std::int64_t count) {
    return ((1u << count) - 1) << first;
  }

  template <bool is_inside>
  static Vec load_lanes(const float* from, std::uint32_t lanes) {
    return is_inside ? load(from) : load_where(from, lanes);
  }

  template <bool is_inside, int num_channels>
  void sum(const InvolutionVector& at, const float* x, const float* kernels, float* y) const {
    const std::int64_t plane = a.out_h * a.out_w, channel_pitch = map.channel_pitch;
    Vec sums[num_channels] = {};
    for (std::int64_t r = 0; r < a.kernel_h; ++r) {
      if (!row_lanes[r]) continue;
      const std::int64_t reads = at.row * a.stride_h + r * a.dilation_h - a.top;
      const float* row =
          x + (map.has_ring ? reads % map.places : reads) * map.row_pitch + at.column;
      const float* taps = kernels + r * a.kernel_w * plane;
      for (std::int64_t s = 0; s < a.kernel_w; ++s, taps += plane) {
        const std::uint32_t lanes = row_lanes[r] & column_lanes[s];
        if (!is_inside && !lanes) continue;
        const Vec kernel = load_lanes<is_inside>(taps, lanes);
        // Taps lie a plane apart: more streams than a processor follows by itself.
        __builtin_prefetch(taps + 2 * kLanes, 0, 2);
        const float* from = row + columns[s].shift;
#pragma GCC unroll 8
        for (int c = 0; c < num_channels; ++c)
          sums[c] =
              mul_add(kernel, load_lanes<is_inside>(from + c * channel_pitch, lanes), sums[c]);
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < num_channels; ++c) store_up_to(y + c * plane, sums[c], at.count);
  }

  const InvolutionMap& map;
  const Involution2dArgs& a;
  InvolutionColumn* const columns;
  std::uint32_t* const column_lanes;
  std::uint32_t* const row_lanes;
  float* const ring;
};

inline Status involution2d(const Involution2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.n * a.c * a.out_h * a.out_w == 0) return Status::ok;

  const InvolutionMap map{a};
  const auto run = [&](std::int64_t begin, std::int64_t end, float* scratch) {
    InvolutionPass pass(map, scratch);
    while (begin < end) {
      const std::int64_t group = begin / map.vectors, first = group * map.vectors;
      const std::int64_t last = std::min(end, first + map.vectors);
      pass.run(group, begin - first, last - first);
      begin = last;
    }
  };
  return parallel_for_with_scratch(a.n * a.groups * map.vectors, map.channels * map.taps * kLanes,
                                   a.num_threads, InvolutionPass::scratch_floats(map), run);
}
