// SPDX-License-Identifier: Apache-2.0
// Which taps of a window read the image, and where.

// One axis: output i reads inputs i * step - before + tap * dilation, 0 <= tap < kernel.
struct WindowAxis {
  std::int64_t size, kernel, step, before, dilation;

  // Taps of output i whose input lies before the position.
  std::int64_t taps_before(std::int64_t position, std::int64_t i) const {
    const std::int64_t distance = position + before - i * step;
    return distance <= 0 ? 0 : std::min(kernel, divide_up(distance, dilation));
  }

  // The first output whose tap reads at the position or behind it.
  std::int64_t output_reaching(std::int64_t position, std::int64_t tap) const {
    return divide_up(position + before - tap * dilation, step);
  }
};

// Outputs [begin, end) that read the image with the same taps.
struct Run {
  std::int64_t begin, end, first_tap, end_tap;

  std::int64_t size() const { return end - begin; }
};

// The outputs from `begin` on, up to `limit`: neither does another tap enter the image nor the last
// one leave it.
inline Run run_from(const WindowAxis& axis, std::int64_t begin, std::int64_t limit) {
  Run run{begin, limit, axis.taps_before(0, begin), axis.taps_before(axis.size, begin)};
  if (run.first_tap > 0) run.end = std::min(run.end, axis.output_reaching(0, run.first_tap - 1));
  if (run.end_tap > 0)
    run.end = std::min(run.end, axis.output_reaching(axis.size, run.end_tap - 1));
  return run;
}

// Outputs that are computed together, along both axes.
constexpr std::int64_t kBandPixels = 256;

// A part of the outputs of one axis, run by run.
struct Runs {
  std::int64_t count = 0;
  Run runs[kBandPixels];

  Runs(const WindowAxis& axis, std::int64_t begin, std::int64_t end) {
    for (; begin < end; begin = runs[count++].end) runs[count] = run_from(axis, begin, end);
  }

  const Run* begin() const { return runs; }
  const Run* end() const { return runs + count; }
};

// Where the inputs of an axis lie, in floats: output i and tap t read at
// origin + i * output + t * tap.
struct AxisPitch {
  std::int64_t origin, output, tap;

  std::int64_t at(std::int64_t i, std::int64_t t) const { return origin + i * output + t * tap; }
};

// Inputs that are gathered for outputs [first, first + count): those of each tap, `span` of them,
// in one stretch of a table. Taps that overlap share their stretch.
struct GatheredAxis {
  const WindowAxis& axis;
  std::int64_t first, span, tap;  // tap: from one tap to the next in the table

  GatheredAxis(const WindowAxis& axis, std::int64_t first, std::int64_t count)
      : axis(axis),
        first(first),
        span((count - 1) * axis.step + 1),
        tap(std::min(axis.dilation, span)) {}

  std::int64_t size() const { return span + (axis.kernel - 1) * tap; }

  AxisPitch pitch(std::int64_t floats) const {
    return {-first * axis.step * floats, axis.step * floats, tap * floats};
  }

  // Calls body(index, input, count): entries of the table from `index` on are inputs from `input`
  // on. What lies outside the image is left out.
  template <class Body>
  void for_stretches(const Body& body) const {
    const bool overlap = tap == axis.dilation;
    for (std::int64_t t = 0; t < (overlap ? 1 : axis.kernel); ++t) {
      const std::int64_t input = first * axis.step - axis.before + t * axis.dilation;
      const std::int64_t begin = std::max<std::int64_t>(input, 0);
      const std::int64_t end = std::min(input + (overlap ? size() : span), axis.size);
      if (begin < end) body(t * tap + begin - input, begin, end - begin);
    }
  }
};
