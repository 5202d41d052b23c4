// SPDX-License-Identifier: Apache-2.0
// The product of two matrices, from the register tile up. Included inside a target's namespace and
// region, once: no include guard.
//
//   y[r, c] = activation(bias + sum_k rows[r][k] * columns[k][c] + residual[r, c])
//
// Rows are read in place, each through its own pointer. Columns are packed in panels of kPanel:
// [panel][k][kPanel], the last one filled up with anything finite.
//
// Each sum has one accumulator, begins with the bias and takes k in ascending order (a block of
// depth leaves its sums in y, and the next one takes them up from there), so that no tile, block,
// target with fused multiply-add or number of threads changes a bit of it.
//
// What a tile does around its loop is kept short. Hardly any of it passes beside the multiply-adds
// of the next tile, and on Zen 5 each store of a vector takes the place of two of them.

// Two vectors: each value of a row, once broadcast, is used twice.
constexpr std::int64_t kPanel = 2 * kLanes;

// As many sums as the registers hold beside two vectors of the panel and one broadcast value:
// 12 of 16 registers, or 28 of 32.
constexpr int kTileRows = kLanes == 16 ? 14 : 6;

// A panel of this depth takes 16 KB: half of the first cache, where every row tile finds it.
constexpr std::int64_t kDepthBlock = 16384 / (kPanel * sizeof(float));

// Where a tile multiplies 28 times for each two vectors of the panel, these may as well come from
// the second cache: sums that wait in y for the next block of depth would cost more.
constexpr std::int64_t kProductDepth = kLanes == 16 ? 4 * kDepthBlock : kDepthBlock;

// Whether panels of so many floats stay in the second cache, beside the rows that pass over them.
inline bool are_kept(std::int64_t floats) { return floats <= second_cache_floats() / 2; }

// Rows that pass over all panels together: they stay in the second cache.
constexpr std::int64_t kStripRows = kTileRows * (96 / kTileRows);

// Floats of a line of the caches.
constexpr std::int64_t kLine = 64 / sizeof(float);

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// How [0, count) is cut: into pieces of `size`, a multiple of `unit`, no larger than `most`, and
// one for each thread if there are units enough.
struct Pieces {
  std::int64_t size, number;

  Pieces(std::int64_t count, std::int64_t unit, std::int64_t most, std::int64_t wanted) {
    const std::int64_t units = divide_up(count, unit);
    number = std::max(divide_up(count, most), std::min(wanted, units));
    size = divide_up(units, number) * unit;
    number = divide_up(count, size);
  }
};

// Values of a row that lie side by side: k in [begin, end) is found at row[k + shift].
struct Stretch {
  std::int64_t begin, end, shift;
};

// The stretches that a block of depth consists of, in ascending order; what lies between them is
// left out.
struct Stretches {
  const Stretch* first;
  std::int64_t count;
};

// What is read after a tile, and fetched while its sums are made, a few lines of 64 bytes for each
// 16 of depth: all at once they would have to wait for each other, and the tile for them. A dozen
// rows side by side are more streams than a processor follows by itself.
struct Ahead {
  std::int64_t rows = 0;         // floats from the tile's rows to those of the next; 0: none
  const float* panel = nullptr;  // the first line of the tile's share in a panel that comes next
  std::int64_t panel_lines = 0;  // of that share, for each 16 of depth

  bool is_empty() const { return rows == 0 && panel_lines == 0; }
};

// Sums of a few rows by one or two vectors of columns. Loops over it unroll: it lives in registers.
template <int num_rows, int num_vectors>
struct Tile {
  Vec sums[num_rows][num_vectors];

  // sums += rows * panel, over the stretches
  [[gnu::always_inline]] void add_products(const float* const* rows, const float* panel,
                                           const Stretches& stretches, Ahead ahead) {
    // A copy whose address nobody takes: the compiler keeps it in registers.
    Vec in_registers[num_rows][num_vectors];
    for_each([&](Vec& sum, int r, int v) { in_registers[r][v] = sum; });
    for (std::int64_t i = 0; i < stretches.count; ++i) {
      const auto [begin, end, shift] = stretches.first[i];
      const std::int64_t step = ahead.is_empty() ? end - begin : kLine;
      for (std::int64_t line = begin; line < end; line += step) {
        if (ahead.rows != 0)
          for (int r = 0; r < num_rows; ++r)
            __builtin_prefetch(rows[r] + line + shift + ahead.rows);
        for (std::int64_t i = 0; i < ahead.panel_lines; ++i, ahead.panel += kLine)
          __builtin_prefetch(ahead.panel, 0, 2);
        const std::int64_t line_end = std::min(line + step, end);
        // Four at a time: the loop's own instructions are a tenth of one.
#pragma GCC unroll 4
        for (std::int64_t k = line; k < line_end; ++k) {
          Vec columns[num_vectors];
          for (int v = 0; v < num_vectors; ++v) columns[v] = load(panel + k * kPanel + v * kLanes);
#pragma GCC unroll 14
          for (int r = 0; r < num_rows; ++r) {
            const Vec value = broadcast(rows[r][k + shift]);
            for (int v = 0; v < num_vectors; ++v)
              in_registers[r][v] = mul_add(value, columns[v], in_registers[r][v]);
          }
        }
      }
    }
    for_each([&](Vec& sum, int r, int v) { sum = in_registers[r][v]; });
  }

  // Calls body(sums, row, vector) for each of them.
  template <class Body>
  [[gnu::always_inline]] void for_each(const Body& body) {
#pragma GCC unroll 14
    for (int r = 0; r < num_rows; ++r)
      for (int v = 0; v < num_vectors; ++v) body(sums[r][v], r, v);
  }
};

// Calls body(row's first float, r) for the rows that begin at `at`. The pointer moves along, since
// multiples of the pitch would not fit the registers.
template <int num_rows, class Float, class Body>
[[gnu::always_inline]] inline void for_rows(Float* at, std::int64_t pitch, const Body& body) {
#pragma GCC unroll 14
  for (int r = 0; r < num_rows; ++r, at += pitch) {
    at = unknown(at);
    body(at, r);
  }
}

// Where the sums of a product go, and what becomes of them there.
struct Output {
  float* y;
  std::int64_t row_pitch;    // of y and of residual
  const float* row_bias;     // one number for each row, or null
  const float* column_bias;  // one for each column, or null
  const float* residual;     // or null
  Activation activation;
  std::int64_t last_lanes = kLanes;  // of a tile's last vector

  Output at(std::int64_t row, std::int64_t column) const {
    const std::int64_t offset = row * row_pitch + column;
    return {y + offset,
            row_pitch,
            row_bias ? row_bias + row : nullptr,
            column_bias ? column_bias + column : nullptr,
            residual ? residual + offset : nullptr,
            activation,
            last_lanes};
  }

  // Numbers of a tile's vector, of which the last one may not be whole.
  template <bool is_edge, int num_vectors>
  [[gnu::always_inline]] Vec load_vector(const float* from, int vector) const {
    const bool is_last = is_edge && vector == num_vectors - 1;
    return is_last ? load_up_to(from, last_lanes) : load(from);
  }

  // What the tile will write, and what is added to it.
  template <int num_rows, int num_vectors>
  [[gnu::always_inline]] void fetch() const {
    constexpr int kStep = std::max<int>(kLine / kLanes, 1);  // vectors of a line
    const auto fetch_lines = [&](const float* first, auto writes) __attribute__((always_inline)) {
      for_rows<num_rows>(first, row_pitch, [](const float* at, int) {
        for (int v = 0; v < num_vectors; v += kStep)
          __builtin_prefetch(at + v * kLanes, decltype(writes)::value);
      });
    };
    fetch_lines(y, std::true_type{});
    if (residual) fetch_lines(residual, std::false_type{});
  }

  // Calls body(sum, its bias) for each sum, if there is a bias.
  template <bool is_edge, int num_rows, int num_vectors, class Body>
  [[gnu::always_inline]] void for_each_bias(Tile<num_rows, num_vectors>& tile,
                                            const Body& body) const {
    if (row_bias)
      tile.for_each([&](Vec& sum, int row, int) { body(sum, broadcast(row_bias[row])); });
    if (!column_bias) return;
    Vec bias[num_vectors];
    for (int v = 0; v < num_vectors; ++v)
      bias[v] = load_vector<is_edge, num_vectors>(column_bias + v * kLanes, v);
    tile.for_each([&](Vec& sum, int, int v) { body(sum, bias[v]); });
  }

  template <bool is_edge, int num_rows, int num_vectors>
  [[gnu::always_inline]] void load_sums(Tile<num_rows, num_vectors>& tile) const {
    for_rows<num_rows>(y, row_pitch, [&](const float* at, int r) {
      for (int v = 0; v < num_vectors; ++v)
        tile.sums[r][v] = load_vector<is_edge, num_vectors>(at + v * kLanes, v);
    });
  }

  template <bool is_edge, int num_rows, int num_vectors>
  [[gnu::always_inline]] void store_sums(Tile<num_rows, num_vectors>& tile) const {
    for_rows<num_rows>(y, row_pitch, [&](float* at, int r) {
      for (int v = 0; v < num_vectors; ++v) {
        if (is_edge && v == num_vectors - 1)
          store_up_to(at + v * kLanes, tile.sums[r][v], last_lanes);
        else
          store(at + v * kLanes, tile.sums[r][v]);
      }
    });
  }

  // The activations of most networks are applied in registers; the costlier ones take y up again
  // from the first cache, so that the tile need not lie in memory for their sake.
  template <bool is_edge, int num_rows, int num_vectors>
  [[gnu::always_inline]] void finish(Tile<num_rows, num_vectors>& tile) const {
    if (residual)
      for_rows<num_rows>(residual, row_pitch, [&](const float* at, int r) {
        for (int v = 0; v < num_vectors; ++v)
          tile.sums[r][v] += load_vector<is_edge, num_vectors>(at + v * kLanes, v);
      });
    if (activation == Activation::relu)
      tile.for_each([](Vec& sum, int, int) { sum = activate<Activation::relu>(sum); });
    else if (activation == Activation::relu6)
      tile.for_each([](Vec& sum, int, int) { sum = activate<Activation::relu6>(sum); });
    store_sums<is_edge>(tile);
    if (activation > Activation::relu6)
      activate_stored<is_edge, num_rows, num_vectors>(y, row_pitch, activation, last_lanes);
  }

 private:
  // By values: an Output that somebody points at has to lie in memory.
  template <bool is_edge, int num_rows, int num_vectors>
  [[gnu::noinline]] static void activate_stored(float* y, std::int64_t row_pitch,
                                                Activation activation, std::int64_t last_lanes) {
    const Output stored{y, row_pitch, nullptr, nullptr, nullptr, activation, last_lanes};
    Tile<num_rows, num_vectors> tile;
    stored.load_sums<is_edge>(tile);
    with_activation(activation, [&](auto kind) {
      tile.for_each([&](Vec& sum, int, int) { sum = activate<kind()>(sum); });
    });
    stored.store_sums<is_edge>(tile);
  }
};

// One block of depth of a product.
struct DepthBlock {
  std::int64_t begin, end, depth;  // of the whole depth

  std::int64_t size() const { return end - begin; }
  bool is_first() const { return begin == 0; }
  bool is_last() const { return end == depth; }
};

// Calls body(DepthBlock) from the first to the last; once even if the depth is zero.
template <class Body>
void for_depth_blocks(std::int64_t depth, const Body& body, std::int64_t most = kProductDepth) {
  const std::int64_t number = std::max<std::int64_t>(divide_up(depth, most), 1);
  const std::int64_t size = divide_up(depth, number);
  std::int64_t begin = 0;
  do {
    const std::int64_t end = std::min(begin + size, depth);
    body(DepthBlock{begin, end, depth});
    begin = end;
  } while (begin < depth);
}

// Calls body(std::integral_constant<int, num_rows>), 1 <= num_rows <= kTileRows.
template <int candidate = kTileRows, class Body>
void with_num_rows(std::int64_t num_rows, const Body& body) {
  if constexpr (candidate > 1) {
    if (num_rows < candidate) return with_num_rows<candidate - 1>(num_rows, body);
  }
  body(std::integral_constant<int, candidate>{});
}

// Rows by the first one or two vectors of a panel. A function of its own: inside a larger one the
// rows' pointers lose their registers, and a fifth of the speed goes with them.
template <int num_rows, int num_vectors, bool is_edge>
[[gnu::noinline]] void multiply_rows(const float* const* rows, const float* panel,
                                     const Stretches& stretches, const DepthBlock& block,
                                     const Output& to, const Ahead& ahead) {
  const Output output = to;  // a copy that no store can change
  const bool is_last = block.is_last();
  Tile<num_rows, num_vectors> tile;
  if (block.is_first()) {
    tile.for_each([](Vec& sum, int, int) { sum = zero(); });
    output.for_each_bias<is_edge>(tile, [](Vec& sum, Vec bias) { sum = bias; });
  } else {
    output.load_sums<is_edge>(tile);
  }
  // Fetched while the sums are made.
  output.fetch<num_rows, num_vectors>();
  tile.add_products(rows, panel, stretches, ahead);
  if (is_last)
    output.finish<is_edge>(tile);
  else
    output.store_sums<is_edge>(tile);
}

// Up to kTileRows rows.
template <int num_vectors, bool is_edge = false>
[[gnu::always_inline]] inline void multiply_vectors(const float* const* rows, std::int64_t num_rows,
                                                    const float* panel, const Stretches& stretches,
                                                    const DepthBlock& block, const Output& output,
                                                    const Ahead& ahead) {
  with_num_rows(num_rows, [&](auto tile_rows) {
    multiply_rows<tile_rows(), num_vectors, is_edge>(rows, panel, stretches, block, output, ahead);
  });
}

// Up to kTileRows rows by one panel, of which y may have only the first columns.
inline void multiply_tile(const float* const* rows, std::int64_t num_rows, const float* panel,
                          const Stretches& stretches, std::int64_t num_columns,
                          const DepthBlock& block, const Output& output, const Ahead& ahead = {}) {
  if (num_columns >= kPanel)
    return multiply_vectors<2>(rows, num_rows, panel, stretches, block, output, ahead);
  if (num_columns == kLanes)
    return multiply_vectors<1>(rows, num_rows, panel, stretches, block, output, ahead);
  Output edge = output;
  edge.last_lanes = num_columns % kLanes;
  if (num_columns < kLanes)
    multiply_vectors<1, true>(rows, num_rows, panel, stretches, block, edge, ahead);
  else
    multiply_vectors<2, true>(rows, num_rows, panel, stretches, block, edge, ahead);
}

// Calls body(first, count) for the tiles that `num_rows` rows are cut into.
template <class Body>
void for_row_tiles(std::int64_t num_rows, const Body& body) {
  std::int64_t row = 0;
  while (row < num_rows) {
    const std::int64_t left = num_rows - row;
    // The last two tiles share what is left: a tile of one row would wait for its sums.
    const std::int64_t count = left >= 2 * kTileRows ? kTileRows
                               : left > kTileRows    ? divide_up(left, 2)
                                                     : left;
    body(row, count);
    row += count;
  }
}

// The share that rows [begin, end) of num_rows have in a panel of so many floats that comes next.
inline Ahead share_of(const float* panel, std::int64_t floats, std::int64_t begin, std::int64_t end,
                      std::int64_t num_rows) {
  const std::int64_t lines = divide_up(floats, kLine);
  const std::int64_t steps = std::max<std::int64_t>(divide_up(floats / kPanel, kLine), 1);
  const std::int64_t first = lines * begin / num_rows, last = lines * end / num_rows;
  return {.panel = panel + first * kLine, .panel_lines = divide_up(last - first, steps)};
}

// Rows by panels, one block of depth. row_at(r) points at a row's value at block.begin; `panels`
// too, and from one panel to the next it is panel_pitch. `upcoming` is read after them, and fetched
// meanwhile; null if it need not be.
template <class RowAt>
void multiply_block(std::int64_t num_rows, const RowAt& row_at, std::int64_t num_columns,
                    const float* panels, std::int64_t panel_pitch, const DepthBlock& block,
                    const Output& output, const float* upcoming = nullptr) {
  const Stretch all{0, block.end - block.begin, 0};
  const auto multiply = [&](std::int64_t row, std::int64_t count, std::int64_t column,
                            const Ahead& ahead) __attribute__((always_inline)) {
    const float* rows[kTileRows];
    for (std::int64_t r = 0; r < count; ++r) rows[r] = row_at(row + r);
    multiply_tile(rows, count, panels + column / kPanel * panel_pitch, {&all, 1},
                  num_columns - column, block, output.at(row, column), ahead);
  };

  // All panels pass over each tile, while its rows are in the first cache.
  const std::int64_t num_panels = divide_up(num_columns, kPanel);
  if (num_panels > 1 && are_kept(panel_pitch * num_panels)) {
    for_row_tiles(num_rows, [&](std::int64_t first, std::int64_t count) {
      const std::int64_t next = first + count;
      const Ahead ahead{.rows = next < num_rows ? row_at(next) - row_at(first) : std::ptrdiff_t{0}};
      const float* rows[kTileRows];
      for (std::int64_t r = 0; r < count; ++r) rows[r] = row_at(first + r);
      for (std::int64_t column = 0; column < num_columns; column += kPanel)
        multiply_tile(rows, count, panels + column / kPanel * panel_pitch, {&all, 1},
                      num_columns - column, block, output.at(first, column),
                      column + kPanel >= num_columns ? ahead : Ahead{});
    });
    return;
  }

  // Each panel passes over a strip of tiles.
  const bool come_from_memory = !are_kept(panel_pitch * num_panels);
  if (come_from_memory && !block.is_last()) upcoming = panels + all.end * kPanel;
  for (std::int64_t strip = 0; strip < num_rows; strip += kStripRows) {
    const std::int64_t strip_rows = std::min(kStripRows, num_rows - strip);
    for (std::int64_t column = 0; column < num_columns; column += kPanel) {
      const float* panel = panels + column / kPanel * panel_pitch;
      const bool has_next = come_from_memory && column + kPanel < num_columns;
      const float* const next = has_next ? panel + panel_pitch : upcoming;
      // A single tile has nothing to hide behind: the processor fetches ahead by itself.
      const bool fetches = next && strip_rows > kTileRows;
      for_row_tiles(strip_rows, [&](std::int64_t first, std::int64_t count) {
        Ahead ahead;
        if (fetches) ahead = share_of(next, all.end * kPanel, first, first + count, strip_rows);
        multiply(strip + first, count, column, ahead);
      });
    }
  }
}

// The whole depth. strassen.h has another one with the same interface.
class DirectProduct {
 public:
  // `memory` is a thread's own: so many floats as floats() says.
  DirectProduct(std::int64_t depth, std::int64_t num_columns, const float* panels,
                float* /*memory*/ = nullptr)
      : depth_(depth), num_columns_(num_columns), panels_(panels) {}

  // What it needs for up to `most_rows` at a time.
  static std::int64_t floats(std::int64_t /*depth*/, std::int64_t /*num_columns*/,
                             std::int64_t /*most_rows*/) {
    return 0;
  }

  // y = activation(rows * panels + bias + residual); row_at(r) points at a row.
  template <class RowAt>
  void multiply(std::int64_t num_rows, const RowAt& row_at, const Output& output) const {
    for_depth_blocks(depth_, [&](const DepthBlock& block) {
      multiply_block(
          num_rows, [&](std::int64_t r) { return row_at(r) + block.begin; }, num_columns_,
          panels_ + block.begin * kPanel, depth_ * kPanel, block, output);
    });
  }

 private:
  std::int64_t depth_, num_columns_;
  const float* panels_;
};
