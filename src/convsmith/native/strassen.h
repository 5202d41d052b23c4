// SPDX-License-Identifier: Apache-2.0
// The product of gemm.h with seven multiplications for eight. Included inside a target's namespace
// and region, once: no include guard.
//
// Rows are taken in pairs, panels in pairs, the depth in two halves. Each pair of rows by each pair
// of panels is a product of tables of two by two,
//
//   c11 c12   a11 a12   b11 b12
//   c21 c22 = a21 a22 * b21 b22     a1.: a row, a2.: the next one, a.1 and a.2: its halves
//
// which takes seven products (Strassen, "Gaussian elimination is not optimal", 1969; with fifteen
// additions: Winograd, "On multiplication of 2 x 2 matrices", 1971):
//
//   s1 = a21 + a22   s2 = s1 - a11    s3 = a11 - a21   s4 = a12 - s2
//   t1 = b12 - b11   t2 = b22 - t1    t3 = b22 - b12   t4 = b21 - t2
//
//   u = a11 b11 + s2 t2     c11 = a11 b11 + a12 b21    c12 = u + s1 t1 + s4 b22
//   v = u + s3 t3           c21 = v + a22 t4           c22 = v + s1 t1
//
// Additions are a small share of the work: those of a and b are made once for many products, those
// of c in registers. On whole numbers that stay exact, so does the product; elsewhere it rounds two
// to three times as much as a sum in order does. A NaN or an infinity stays in its pair of rows.

// In the order in which the sums are made: most begin with what the one before has left.
enum StrassenProducts : int { kA11B11, kA12B21, kS2T2, kS1T1, kS4B22, kS3T3, kA22T4, kNumProducts };

// A block of depth in two halves, the second of which may be one shorter.
struct Halves {
  std::int64_t first, second;

  explicit Halves(std::int64_t depth) : first(divide_up(depth, 2)), second(depth - first) {}

  // What a tile's rows are in each of the seven products: [product][row][row_pitch]. An odd number
  // of lines: rows of a power of two would all meet in a few sets of the first cache.
  std::int64_t row_pitch() const { return divide_up(first, kLine) / 2 * 2 * kLine + kLine; }
  std::int64_t product_pitch() const { return kTileRows * row_pitch(); }
  std::int64_t tile_floats() const { return kNumProducts * product_pitch(); }

  std::int64_t panel_floats() const { return first * kPanel; }
  std::int64_t sums_floats() const { return 4 * panel_floats(); }  // t1 to t4
};

// What the seven products read of a pair of rows; `bottom` is null where there is no second row.
inline void sum_rows(const float* top, const float* bottom, const Halves& halves, float* to) {
  const auto sum = [&](std::int64_t k, Vec a11, Vec a12, Vec a21, Vec a22) {
    const Vec s1 = a21 + a22, s2 = s1 - a11;
    const Vec operands[kNumProducts] = {a11, a12, s2, s1, a12 - s2, a11 - a21, a22};
    for (int p = 0; p < kNumProducts; ++p) store(to + p * halves.product_pitch() + k, operands[p]);
  };
  const auto [first, second] = halves;
  std::int64_t k = 0;
  for (; bottom && k + kLanes <= second; k += kLanes)
    sum(k, load(top + k), load(top + first + k), load(bottom + k), load(bottom + first + k));
  const auto part = [&](const float* row, std::int64_t begin, std::int64_t size) {
    return row && k < size ? load_up_to(row + begin + k, size - k) : zero();
  };
  for (; k < first; k += kLanes)
    sum(k, part(top, 0, first), part(top, first, second), part(bottom, 0, first),
        part(bottom, first, second));
}

// t1 to t4 of a pair of panels, each first * kPanel floats.
inline void sum_panels(const float* left, const float* right, const Halves& halves, float* to) {
  const std::int64_t size = halves.panel_floats(), lower_size = halves.second * kPanel;
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const Vec b11 = load(left + i), b12 = load(right + i);
    const Vec b21 = i < lower_size ? load(left + size + i) : zero();
    const Vec b22 = i < lower_size ? load(right + size + i) : zero();
    const Vec t1 = b12 - b11, t2 = b22 - t1;
    store(to + i, t1);
    store(to + size + i, t2);
    store(to + 2 * size + i, b22 - b12);
    store(to + 3 * size + i, b21 - t2);
  }
}

// A pair of panels, of which `sums` are sum_panels.
struct PanelPair {
  const float* operands[kNumProducts];

  PanelPair(const float* left, const float* right, const float* sums, const Halves& halves) {
    const std::int64_t size = halves.panel_floats();
    operands[kA11B11] = left;
    operands[kA12B21] = left + size;
    operands[kS2T2] = sums + size;
    operands[kS1T1] = sums;
    operands[kS4B22] = right + size;
    operands[kS3T3] = sums + 2 * size;
    operands[kA22T4] = sums + 3 * size;
  }
};

// Where the four results of pairs of rows go.
struct PairOutput {
  Output c11, c12, c21, c22;
  bool lacks_last;  // the last pair has no second row

  PairOutput(const Output& output, bool lacks_last)
      : c11(output),
        c12(output.at(0, kPanel)),
        c21(output.at(1, 0)),
        c22(output.at(1, kPanel)),
        lacks_last(lacks_last) {
    for (Output* c : {&c11, &c12, &c21, &c22}) c->row_pitch = 2 * output.row_pitch;
  }
};

// What becomes of the sums of a block of depth.
template <int num_rows>
[[gnu::always_inline]] inline void write_sums(Tile<num_rows, 2>& tile, const DepthBlock& block,
                                              const Output& output) {
  if (block.is_first())
    output.for_each_bias<false>(tile, [](Vec& sum, Vec bias) { sum += bias; });
  else
    for_rows<num_rows>(output.y, output.row_pitch, [&](const float* at, int r) {
      for (int v = 0; v < 2; ++v) tile.sums[r][v] += load(at + v * kLanes);
    });
  if (block.is_last())
    output.finish<false>(tile);
  else
    output.store_sums<false>(tile);
}

// The same of sums that lie in memory.
[[gnu::noinline]] inline void write_kept(const float* kept, std::int64_t num_rows,
                                         const DepthBlock& block, const Output& output) {
  with_num_rows(num_rows, [&](auto tile_rows) {
    Tile<tile_rows(), 2> tile;
    tile.for_each([&](Vec& sum, int r, int v) { sum = load(kept + r * kPanel + v * kLanes); });
    write_sums(tile, block, output);
  });
}

// What multiply_pairs keeps while it works: u and, until it is whole, c22.
constexpr std::int64_t kKeptFloats = 2 * kTileRows * kPanel;

// Up to kTileRows pairs of rows by a pair of panels. `rows` are sum_rows of each.
[[gnu::noinline]] inline void multiply_pairs(const float* rows, std::int64_t num_pairs,
                                             const PanelPair& panels, const Halves& halves,
                                             const DepthBlock& block, const PairOutput& output,
                                             const Ahead* ahead, float* kept) {
  with_num_rows(num_pairs, [&](auto tile_rows) {
    constexpr int kRows = tile_rows();
    float* const u = kept;
    float* const c22 = kept + kRows * kPanel;
    // What is whole after each product; c22 comes last, from memory.
    const Output* const whole[kNumProducts + 1] = {
        nullptr, &output.c11, nullptr, nullptr, &output.c12, nullptr, &output.c21, &output.c22};
    Tile<kRows, 2> tile;
    for (int p = 0; p <= kNumProducts; ++p) {
      const bool is_result = whole[p] != nullptr;
      const Output c = is_result ? *whole[p] : Output{};  // a copy that no store can change
      if (is_result) c.fetch<kRows, 2>();                 // while the sums are made
      if (p == kA11B11)
        tile.for_each([](Vec& sum, int, int) { sum = zero(); });
      else if (const float* from = p == kS2T2 || p == kS3T3 ? u : p == kNumProducts ? c22 : nullptr)
        tile.for_each([&](Vec& sum, int r, int v) { sum = load(from + r * kPanel + v * kLanes); });

      if (p < kNumProducts) {
        // Those that end in a result have the depth's second half.
        const Stretch all{0, is_result ? halves.second : halves.first, 0};
        const float* operands[kRows];
        for (int r = 0; r < kRows; ++r)
          operands[r] = rows + p * halves.product_pitch() + r * halves.row_pitch();
        tile.add_products(operands, panels.operands[p], {&all, 1},
                          {.panel = ahead[p].panel, .panel_lines = ahead[p].panel_lines});
      }

      if (is_result) {
        if (p >= kA22T4 && output.lacks_last) {
          tile.for_each([&](Vec& sum, int r, int v) { store(u + r * kPanel + v * kLanes, sum); });
          if (kRows > 1) write_kept(u, kRows - 1, block, c);
        } else {
          write_sums(tile, block, c);
        }
      } else if (p == kS3T3) {
        // c22 holds u + s1 t1 so far.
        tile.for_each([&](Vec& sum, int r, int v) {
          const std::int64_t at = r * kPanel + v * kLanes;
          store(c22 + at, sum + (load(c22 + at) - load(u + at)));
        });
      } else {
        float* const to = p == kS1T1 ? c22 : u;
        tile.for_each([&](Vec& sum, int r, int v) { store(to + r * kPanel + v * kLanes, sum); });
      }
    }
  });
}

// Rows that pass over the panels together, in pairs: they pay for the panels' sums.
constexpr std::int64_t kStrassenRows = 2 * kTileRows * (196 / (2 * kTileRows));

// Halves of this depth leave room in the first cache for a tile's rows.
constexpr std::int64_t kStrassenDepth = 512;

// The interface of gemm.h's DirectProduct.
class StrassenProduct {
 public:
  StrassenProduct(std::int64_t depth, std::int64_t num_columns, const float* panels, float* memory)
      : plan_(depth, num_columns),
        panels_(panels),
        kept_(memory),
        sums_(memory + kKeptFloats),
        rows_(sums_ + plan_.sums_floats()),
        rest_(depth, num_columns - plan_.columns(), panels + plan_.columns() * depth) {
    if (!plan_.keeps_sums()) return;
    plan_.for_blocks([&](const DepthBlock& block) {
      for (std::int64_t pair = 0; pair < plan_.pairs; ++pair) sum_pair(block, pair);
    });
  }

  static std::int64_t floats(std::int64_t depth, std::int64_t num_columns, std::int64_t most_rows) {
    const Plan plan(depth, num_columns);
    return kKeptFloats + plan.sums_floats() + plan.rows_floats(most_rows);
  }

  template <class RowAt>
  void multiply(std::int64_t num_rows, const RowAt& row_at, const Output& output) const {
    if (plan_.keeps_sums())
      pass_panels_over_tiles(num_rows, row_at, output);
    else
      pass_tiles_over_panels(num_rows, row_at, output);
    if (const std::int64_t first = plan_.columns(); first < plan_.num_columns)
      rest_.multiply(num_rows, row_at, output.at(0, first));
  }

 private:
  // Sizes that follow from those of the panels. Columns that make no pair of whole panels are left
  // to the product of gemm.h.
  struct Plan {
    std::int64_t depth, num_columns, pairs;
    Pieces blocks;

    Plan(std::int64_t depth, std::int64_t num_columns)
        : depth(depth),
          num_columns(num_columns),
          pairs(depth < 2 ? 0 : num_columns / (2 * kPanel)),
          blocks(depth, 2, kStrassenDepth, 1) {}

    std::int64_t columns() const { return pairs * 2 * kPanel; }
    Halves halves() const { return Halves(std::min(blocks.size, depth)); }  // the longest

    // Whether all panels and their sums, which are as many, stay in the second cache.
    bool keeps_sums() const { return are_kept(2 * depth * columns()); }

    // Of all pairs of panels, or of the one that passes.
    std::int64_t sums_floats() const {
      return (keeps_sums() ? pairs * blocks.number : 1) * halves().sums_floats();
    }
    // Of the one tile that is passed over, or of all.
    std::int64_t rows_floats(std::int64_t most_rows) const {
      const std::int64_t tiles = divide_up(divide_up(most_rows, 2), kTileRows);
      return (keeps_sums() ? 1 : tiles) * halves().tile_floats();
    }

    template <class Body>
    void for_blocks(const Body& body) const {
      if (pairs == 0) return;
      for (std::int64_t begin = 0; begin < depth; begin += blocks.size)
        body(DepthBlock{begin, std::min(begin + blocks.size, depth), depth});
    }
  };

  const float* panel(const DepthBlock& block, std::int64_t number) const {
    return panels_ + number * plan_.depth * kPanel + block.begin * kPanel;
  }

  float* sums(const DepthBlock& block, std::int64_t pair) const {
    const std::int64_t place = block.begin / plan_.blocks.size * plan_.pairs + pair;
    return sums_ + (plan_.keeps_sums() ? place : 0) * plan_.halves().sums_floats();
  }

  void sum_pair(const DepthBlock& block, std::int64_t pair) const {
    sum_panels(panel(block, 2 * pair), panel(block, 2 * pair + 1), Halves(block.size()),
               sums(block, pair));
  }

  // Pairs [first, first + count) of the rows.
  template <class RowAt>
  static void sum_tile(std::int64_t first, std::int64_t count, std::int64_t num_rows,
                       const RowAt& row_at, const DepthBlock& block, float* to) {
    const Halves halves(block.size());
    for (std::int64_t row = 2 * first; row < 2 * (first + count); row += 2) {
      sum_rows(row_at(row) + block.begin,
               row + 1 < num_rows ? row_at(row + 1) + block.begin : nullptr, halves, to);
      to += halves.row_pitch();
    }
  }

  void multiply_tile_by_pair(const float* rows, std::int64_t first, std::int64_t count,
                             std::int64_t num_rows, const DepthBlock& block, std::int64_t pair,
                             const Output& output, const Ahead* ahead) const {
    const Halves halves(block.size());
    const PanelPair panels(panel(block, 2 * pair), panel(block, 2 * pair + 1), sums(block, pair),
                           halves);
    multiply_pairs(rows, count, panels, halves, block,
                   {output.at(2 * first, pair * 2 * kPanel), 2 * (first + count) > num_rows}, ahead,
                   kept_);
  }

  // All panels pass over each tile, while its rows are in the caches.
  template <class RowAt>
  void pass_panels_over_tiles(std::int64_t num_rows, const RowAt& row_at,
                              const Output& output) const {
    const Ahead none[kNumProducts] = {};
    for_row_tiles(divide_up(num_rows, 2), [&](std::int64_t first, std::int64_t count) {
      plan_.for_blocks([&](const DepthBlock& block) {
        sum_tile(first, count, num_rows, row_at, block, rows_);
        for (std::int64_t pair = 0; pair < plan_.pairs; ++pair)
          multiply_tile_by_pair(rows_, first, count, num_rows, block, pair, output, none);
      });
    });
  }

  // Each pair of panels passes over all tiles; the next one is fetched meanwhile.
  template <class RowAt>
  void pass_tiles_over_panels(std::int64_t num_rows, const RowAt& row_at,
                              const Output& output) const {
    const std::int64_t num_pairs = divide_up(num_rows, 2);
    plan_.for_blocks([&](const DepthBlock& block) {
      const std::int64_t tile_floats = Halves(block.size()).tile_floats();
      float* rows = rows_;
      for_row_tiles(num_pairs, [&](std::int64_t first, std::int64_t count) {
        sum_tile(first, count, num_rows, row_at, block, rows);
        rows += tile_floats;
      });
      for (std::int64_t pair = 0; pair < plan_.pairs; ++pair) {
        sum_pair(block, pair);
        const float* next = nullptr;
        if (pair + 1 < plan_.pairs)
          next = panel(block, 2 * pair + 2);
        else if (!block.is_last())
          next = panels_ + block.end * kPanel;
        rows = rows_;
        for_row_tiles(num_pairs, [&](std::int64_t first, std::int64_t count) {
          Ahead ahead[kNumProducts] = {};
          if (next && num_pairs > kTileRows) fetch(next, block, first, count, num_pairs, ahead);
          multiply_tile_by_pair(rows, first, count, num_rows, block, pair, output, ahead);
          rows += tile_floats;
        });
      }
    });
  }

  // The next two panels in six of the products, a third of a panel in each, and of that the share
  // of a tile.
  void fetch(const float* next, const DepthBlock& block, std::int64_t first, std::int64_t count,
             std::int64_t num_pairs, Ahead* ahead) const {
    const std::int64_t lines = divide_up(block.size() * kPanel / kLine, 3);
    const std::int64_t steps = divide_up(block.size(), 2 * kLine);
    const std::int64_t begin = lines * first / num_pairs;
    const std::int64_t end = lines * (first + count) / num_pairs;
    for (int p = 0; p < 6; ++p) {
      const float* const third = next + p / 3 * plan_.depth * kPanel + p % 3 * lines * kLine;
      ahead[p].panel = third + begin * kLine;
      ahead[p].panel_lines = divide_up(end - begin, steps);
    }
  }

  Plan plan_;
  const float* panels_;
  float* kept_;
  float* sums_;
  float* rows_;
  DirectProduct rest_;
};
