// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution by large kernels with fewer multiplications, float32, any strides of the
// input; steps of one, no dilation.
//
// Along an axis outputs are cut into tiles of four, taps into pieces of four, the last one filled
// up with zeros. Tile t meets piece p in the seven inputs from 4 (t + p) on, block t + p, for each
// pair in the way of Winograd's F(4, 4):
//
//   y[t] = A sum_p (G w[p]) * (B x[t + p])        * is element by element
//
// The sum is a depthwise convolution again, of blocks by pieces, for each of the seven positions:
// a quarter as wide, by a kernel a quarter as wide. Seven products do the work of sixteen, and what
// turns x and y is shared by all the rows and pieces. `depthwise_winograd_1x4` cuts columns alone,
// `depthwise_winograd_4x4` rows in the same way, where 49 products do the work of 256.
//
// Rows of blocks that meet padding alone are skipped. The products bound it, and on small maps and
// for small kernels what turns x and y.
#include "convs/depthwise/depthwise.kernel.h"

// Factors that are exact in float32, and points whose work is shared.
using WinogradPieces =
    WinogradTransforms<CookToom<4, 4, kHalf, -kHalf, kOne, -kOne, Rational{2}, Rational{-2}>>;

// An axis that is left as it is.
struct WinogradUncut {
  static constexpr int kOutputs = 1, kInputs = 1, kTaps = 1;
  static constexpr Matrix<1, 1> kKernel{{{kOne}}};
};

// Tiles of outputs and pieces of taps along an axis, and the blocks of inputs where they meet.
struct DepthwiseBlocks {
  std::int64_t tiles, pieces;
  std::int64_t first;       // input of block 0; may lie in front of the image
  std::int64_t begin, end;  // the blocks that read the image

  template <class Transforms>
  static DepthwiseBlocks of(Transforms, std::int64_t outputs, std::int64_t taps, std::int64_t first,
                            std::int64_t size) {
    constexpr std::int64_t m = Transforms::kOutputs, n = Transforms::kInputs;
    DepthwiseBlocks blocks{divide_up(outputs, m), divide_up(taps, m), first, 0, 0};
    const auto blocks_before = [&](std::int64_t input) {  // that begin before it
      return std::clamp<std::int64_t>(divide_up(std::max<std::int64_t>(input - first, 0), m), 0,
                                      blocks.count());
    };
    blocks.end = blocks_before(size);
    blocks.begin = std::min(blocks_before(1 - n), blocks.end);
    return blocks;
  }

  std::int64_t count() const { return tiles + pieces - 1; }
  std::int64_t count_inside() const { return end - begin; }
};

// The products of one position: a tile of kRows x kColumns sums in registers. A pixel is a block's.
template <int kRows, int kColumns>
struct DepthwiseProducts {
  const float* pixels;   // of the first block that the tile may meet
  std::int64_t pitch;    // floats from one row of blocks to the next
  DepthwiseSteps rows;   // of blocks, that there are
  const float* weights;  // [piece of rows][piece of columns][kLanes]
  std::int64_t pieces_h, pieces_w;

  [[gnu::noinline]] void run(float* to, std::int64_t to_pitch, std::int64_t to_rows) const {
    Vec sums[kRows][kColumns] = {};
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      const float* const from = pixels + r * pitch;
      const float* const first = weights + r * pieces_w * kLanes;  // that the first row meets
      if (r >= kRows - 1 && r < pieces_h) {
        add<kRows>(from, first, sums);
        continue;
      }
      for_constants<kRows>([&]<int q>(std::integral_constant<int, q>)
                               __attribute__((always_inline)) {
                                 if (r >= q && r - q < pieces_h)
                                   add<1>(from, first - q * pieces_w * kLanes, sums + q);
                               });
    }
    for_constants<kRows>([&]<int q>(std::integral_constant<int, q>) __attribute__((always_inline)) {
      if (q >= to_rows) return;
#pragma GCC unroll 14
      for (int c = 0; c < kColumns; ++c) store(to + q * to_pitch + c * kLanes, sums[q][c]);
    });
  }

  template <int count>
  [[gnu::always_inline]] void add(const float* from, const float* first,
                                  Vec (*sums)[kColumns]) const {
    for (std::int64_t s = 0; s < pieces_w; ++s, from += kLanes, first += kLanes) {
      Vec weight[count];
#pragma GCC unroll 4
      for (int q = 0; q < count; ++q) weight[q] = load(first - q * pieces_w * kLanes);
#pragma GCC unroll 14
      for (int c = 0; c < kColumns; ++c) {
        const Vec pixel = load(unknown(from) + c * kLanes);
#pragma GCC unroll 4
        for (int q = 0; q < count; ++q) sums[q][c] = mul_add(pixel, weight[q], sums[q][c]);
      }
    }
  }
};

template <class Rows, class Columns>
struct DepthwiseWinograd {
  static constexpr int kRows = Rows::kOutputs, kRowInputs = Rows::kInputs;
  static constexpr int kColumns = Columns::kOutputs, kColumnInputs = Columns::kInputs;
  static constexpr bool kCutsRows = kRows > 1;

  // Floats of the turned inputs of a tile: they and the sums stay in the second cache.
  static constexpr std::int64_t kTurnedFloats = 131072;
  // Tiles of a row whose products have registers, for two rows and for four.
  static constexpr int kManyColumns = kLanes == 16 ? 14 : 6, kFewColumns = kManyColumns / 2;
  static constexpr std::int64_t kTileColumns = kColumns * kManyColumns;

  const DepthwiseConv2d conv;
  const DepthwiseConv2dArgs& a = conv.a;
  const std::int64_t blocks = divide_up(conv.filters, kLanes);  // of channels
  const std::int64_t pieces = divide_up(a.kernel_h, kRows) * divide_up(a.kernel_w, kColumns);
  const std::int64_t tiles_w = divide_up(a.out_w, kTileColumns);
  const std::int64_t tile_w = divide_up(divide_up(a.out_w, kColumns), tiles_w) * kColumns;
  const std::int64_t most_columns = tile_w / kColumns + divide_up(a.kernel_w, kColumns) - 1;
  const std::int64_t tile_h = rows_of_a_tile();
  const std::int64_t most_rows =
      std::min(divide_up(tile_h, kRows) + divide_up(a.kernel_h, kRows) - 1,
               divide_up(a.h + kRowInputs - 1, kRows));
  const std::int64_t tiles_h = divide_up(a.out_h, tile_h);

  // As many as fit, but enough that rows read by two tiles are the smaller part.
  std::int64_t rows_of_a_tile() const {
    const std::int64_t fit = kTurnedFloats / (kColumnInputs * most_columns * kLanes);
    const std::int64_t read_twice = a.h <= fit ? 0 : a.kernel_h;
    const std::int64_t wanted = std::max(fit - read_twice, 2 * a.kernel_h);
    return std::min(a.out_h, divide_up(wanted, kRows) * kRows);
  }

  std::int64_t count() const { return a.n * blocks * tiles_h * tiles_w; }
  std::int64_t macs() const { return tile_h * tile_w * conv.taps * kLanes; }

  // What an item keeps, one behind the other.
  struct Room {
    std::int64_t line, turned, block_rows, products, sums;  // floats

    std::int64_t floats() const { return line + turned + block_rows + products + sums; }
  };

  Room room() const {
    const std::int64_t tiles_y = divide_up(tile_h, kRows), tiles_x = divide_up(tile_w, kColumns);
    const std::int64_t turned_rows = std::min(a.h, (most_rows - 1) * kRows + kRowInputs);
    Room room;
    // A row of the image; later two rows of outputs.
    room.line = std::max(most_columns * kColumns + kColumnInputs, 2 * tile_w) * kLanes;
    room.turned = kColumnInputs * turned_rows * most_columns * kLanes;
    room.block_rows = kCutsRows ? (kRowInputs * most_rows + 1) * most_columns * kLanes : 0;
    room.products = kCutsRows ? kRowInputs * tiles_y * tiles_x * kLanes : 0;
    room.sums = kColumnInputs * tiles_y * kRows * tiles_x * kLanes;
    return room;
  }

  void run(std::int64_t item, float* scratch) const {
    const std::int64_t j = item % tiles_w * tile_w;
    const std::int64_t i = item / tiles_w % tiles_h * tile_h;
    const std::int64_t block = item / (tiles_w * tiles_h) % blocks;
    const std::int64_t n = item / (tiles_w * tiles_h * blocks);
    const std::int64_t out_rows = std::min(tile_h, a.out_h - i);
    const std::int64_t out_columns = std::min(tile_w, a.out_w - j);
    const auto rows = DepthwiseBlocks::of(Rows{}, out_rows, a.kernel_h, i - a.top, a.h);
    const auto columns = DepthwiseBlocks::of(Columns{}, out_columns, a.kernel_w, j - a.left, a.w);
    const Room floats = room();
    float* const line = scratch;
    float* const turned = line + floats.line;
    float* const block_rows = turned + floats.turned;
    float* const products = block_rows + floats.block_rows;
    float* const sums = products + floats.products;

    const DepthwiseReach reach = rows_read(rows);
    turn_columns(conv.lanes_of(n, block), reach, columns, line, turned);

    const std::int64_t plane = reach.size() * columns.count() * kLanes;
    const std::int64_t sums_plane = rows.tiles * kRows * columns.tiles * kLanes;
    const float* weights = a.weights + block * kColumnInputs * kRowInputs * pieces * kLanes;
    for (int k = 0; k < kColumnInputs; ++k, weights += kRowInputs * pieces * kLanes) {
      const float* const of_columns = turned + k * plane;
      float* const to = sums + k * sums_plane;
      if constexpr (kCutsRows) {
        turn_rows(of_columns, reach, rows, columns, block_rows);
        for (int l = 0; l < kRowInputs; ++l)
          multiply(block_rows + l * rows.count_inside() * columns.count() * kLanes,
                   weights + l * pieces * kLanes, rows, columns,
                   products + l * rows.tiles * columns.tiles * kLanes);
        turn_rows_back(products, rows.tiles, columns.tiles, to);
      } else {
        multiply(of_columns, weights, rows, columns, to);
      }
    }

    const std::int64_t channels = std::min(kLanes, conv.filters - block * kLanes);
    const bool in_place = a.channels_last && channels == kLanes;
    for (std::int64_t row = 0; row < out_rows; ++row) {
      const DepthwiseRow to = conv.out(n, block * kLanes, i + row, j);
      const float* const from = sums + row * columns.tiles * kLanes;
      if (in_place) {
        finish(from, sums_plane, out_columns, block, to, conv.out_column_stride);
        continue;
      }
      const DepthwiseRow copy = conv.copy_of(to, out_columns, channels, line);
      finish(from, sums_plane, out_columns, block, copy, kLanes);
      conv.scatter(copy.y, out_columns, channels, to.y);
    }
  }

  // Of the image, by the blocks of an item.
  DepthwiseReach rows_read(const DepthwiseBlocks& rows) const {
    const std::int64_t span =
        rows.count_inside() == 0 ? 0 : (rows.count_inside() - 1) * kRows + kRowInputs;
    return DepthwiseReach(rows.first + rows.begin * kRows, 1, 1, 0, span, a.h);
  }

  // Rows of the image to B x of their blocks: [position][row][block].
  void turn_columns(const DepthwiseLanes& lanes, const DepthwiseReach& rows,
                    const DepthwiseBlocks& columns, float* line, float* turned) const {
    const std::int64_t first = columns.first + columns.begin * kColumns;
    const std::int64_t end = first + (columns.count_inside() - 1) * kColumns + kColumnInputs;
    const std::int64_t before = std::clamp<std::int64_t>(-first, 0, end - first);
    const std::int64_t after = std::clamp<std::int64_t>(end - a.w, 0, end - first);
    float* const inside = line + before * kLanes;
    std::fill_n(line, before * kLanes, 0.0f);
    std::fill_n(line + (end - first - after) * kLanes, after * kLanes, 0.0f);
    const std::int64_t pitch = columns.count() * kLanes, plane = rows.size() * pitch;
    for (std::int64_t row = rows.begin; row < rows.end; ++row, turned += pitch) {
      if (columns.count_inside() > 0)
        lanes.gather_row(row, first + before, end - first - before - after, inside);
      for (std::int64_t u = 0; u < columns.count(); ++u) {
        Vec x[kColumnInputs] = {}, v[kColumnInputs];
        if (u >= columns.begin && u < columns.end)
          for (int k = 0; k < kColumnInputs; ++k)
            x[k] = load(line + ((u - columns.begin) * kColumns + k) * kLanes);
        Columns::transform_input(x, v);
        for (int k = 0; k < kColumnInputs; ++k) store(turned + k * plane + u * kLanes, v[k]);
      }
    }
  }

  // The same along the rows: [position][block of rows][block of columns].
  void turn_rows(const float* from, const DepthwiseReach& reach, const DepthwiseBlocks& rows,
                 const DepthwiseBlocks& columns, float* to) const {
    const std::int64_t pitch = columns.count() * kLanes, plane = rows.count_inside() * pitch;
    float* const zeros = to + kRowInputs * plane;
    std::fill_n(zeros, pitch, 0.0f);
    for (std::int64_t v = 0; v < rows.count_inside(); ++v, to += pitch) {
      const float* row[kRowInputs];
      for (int l = 0; l < kRowInputs; ++l) {
        const std::int64_t at = rows.first + (rows.begin + v) * kRows + l;
        row[l] = at >= reach.begin && at < reach.end ? from + (at - reach.begin) * pitch : zeros;
      }
      for (std::int64_t u = 0; u < pitch; u += kLanes) {
        Vec x[kRowInputs], turned[kRowInputs];
        for (int l = 0; l < kRowInputs; ++l) x[l] = load(row[l] + u);
        Rows::transform_input(x, turned);
        for (int l = 0; l < kRowInputs; ++l) store(to + l * plane + u, turned[l]);
      }
    }
  }

  // A depthwise convolution of blocks by pieces: [tile of rows][tile of columns].
  void multiply(const float* from, const float* weights, const DepthwiseBlocks& rows,
                const DepthwiseBlocks& columns, float* to) const {
    if (columns.tiles <= kFewColumns)
      multiply_by<4, kFewColumns>(from, weights, rows, columns, to);
    else
      multiply_by<2, kManyColumns>(from, weights, rows, columns, to);
  }

  template <int kTileRows, int kMostColumns>
  void multiply_by(const float* from, const float* weights, const DepthwiseBlocks& rows,
                   const DepthwiseBlocks& columns, float* to) const {
    for_constants<kMostColumns>([&]<int c>(std::integral_constant<int, c>) {
      if (c + 1 != columns.tiles) return;
      const std::int64_t pieces_h = divide_up(a.kernel_h, kRows);
      const std::int64_t pitch = columns.count() * kLanes, to_pitch = columns.tiles * kLanes;
      for (std::int64_t i = 0; i < rows.tiles; i += kTileRows) {
        const std::int64_t first = i - rows.begin;
        const DepthwiseProducts<kTileRows, c + 1> products{
            from + first * pitch,
            pitch,
            steps_inside(first, 1, pieces_h + kTileRows - 1, rows.count_inside()),
            weights,
            pieces_h,
            columns.pieces};
        products.run(to + i * to_pitch, to_pitch, rows.tiles - i);
      }
    });
  }

  // The sums of tiles of rows to those of rows: [row][tile of columns].
  static void turn_rows_back(const float* from, std::int64_t tiles_y, std::int64_t tiles_x,
                             float* to) {
    const std::int64_t pitch = tiles_x * kLanes, plane = tiles_y * pitch;
    for (std::int64_t t = 0; t < tiles_y; ++t, from += pitch, to += kRows * pitch)
      for (std::int64_t u = 0; u < pitch; u += kLanes) {
        Vec products[kRowInputs], sums[kRows];
        for (int l = 0; l < kRowInputs; ++l) products[l] = load(from + l * plane + u);
        Rows::transform_output(products, sums);
        for (int row = 0; row < kRows; ++row) store(to + row * pitch + u, sums[row]);
      }
  }

  // The sums of a row to its outputs.
  void finish(const float* from, std::int64_t plane, std::int64_t columns, std::int64_t block,
              DepthwiseRow to, std::int64_t pitch) const {
    float room[kLanes];
    const float* const bias = conv.biases(block, room);
    const Vec offset = bias ? load(bias) : Vec{};
    with_activation(static_cast<Activation>(a.activation), [&](auto kind) {
      for (std::int64_t j = 0; j < columns; j += kColumns, from += kLanes) {
        Vec sums[kColumnInputs], y[kColumns];
        for (int k = 0; k < kColumnInputs; ++k) sums[k] = load(from + k * plane);
        Columns::transform_output(sums, y);
        for (int q = 0; q < std::min<std::int64_t>(kColumns, columns - j); ++q) {
          Vec value = y[q] + offset;
          if (to.residual) value += load(to.residual + (j + q) * pitch);
          store(to.y + (j + q) * pitch, activate<kind()>(value));
        }
      }
    });
  }
};

template <class Rows, class Columns>
Status run_depthwise_winograd(const DepthwiseConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  for (std::int64_t step : {a.stride_h, a.stride_w, a.dilation_h, a.dilation_w})
    if (step != 1) return Status::bad_sizes;
  if (a.n * a.c * a.out_h * a.out_w == 0) return Status::ok;
  const DepthwiseWinograd<Rows, Columns> winograd{DepthwiseConv2d{a, DepthwisePlan(a)}};
  return parallel_for_with_scratch(winograd.count(), winograd.macs(), a.num_threads,
                                   winograd.room().floats(),
                                   [&](std::int64_t begin, std::int64_t end, float* scratch) {
                                     for (std::int64_t item = begin; item < end; ++item)
                                       winograd.run(item, scratch);
                                   });
}

inline Status depthwise_winograd_1x4(const DepthwiseConv2dArgs& a) {
  return run_depthwise_winograd<WinogradUncut, WinogradPieces>(a);
}

inline Status depthwise_winograd_4x4(const DepthwiseConv2dArgs& a) {
  return run_depthwise_winograd<WinogradPieces, WinogradPieces>(a);
}

// Weights as this target's depthwise_winograd reads them: G w of every piece along both axes, in
// double, rounded once.
struct DepthwiseWinogradPackArgs {
  const float* weights;  // (filters, kernel_h, kernel_w), contiguous
  float* packed;         // [block][position of columns][position of rows][piece][kLanes]
  std::int64_t filters, kernel_h, kernel_w;
  std::int64_t cuts_rows;  // 1 or 0
  std::int64_t num_threads;
};

template <class Rows, class Columns>
Status pack_depthwise_winograd(const DepthwiseWinogradPackArgs& a) {
  constexpr int kRowTaps = Rows::kTaps, kColumnTaps = Columns::kTaps;
  const std::int64_t blocks = divide_up(a.filters, kLanes), taps = a.kernel_h * a.kernel_w;
  const std::int64_t pieces_h = divide_up(a.kernel_h, kRowTaps);
  const std::int64_t pieces_w = divide_up(a.kernel_w, kColumnTaps);
  const std::int64_t pieces = pieces_h * pieces_w;
  std::int64_t bytes;
  if (!product_fits(bytes, std::int64_t{sizeof(float) * Rows::kInputs * Columns::kInputs}, blocks,
                    pieces_h, pieces_w, kLanes))
    return Status::overflow;

  const auto turned = [&](std::int64_t filter, int k, int l, std::int64_t piece) {
    const std::int64_t top = piece / pieces_w * kRowTaps, left = piece % pieces_w * kColumnTaps;
    double sum = 0;
    for (std::int64_t r = top; r < std::min(top + kRowTaps, a.kernel_h); ++r)
      for (std::int64_t s = left; s < std::min(left + kColumnTaps, a.kernel_w); ++s)
        sum += double(Rows::kKernel.at[l][r - top]) * double(Columns::kKernel.at[k][s - left]) *
               a.weights[filter * taps + r * a.kernel_w + s];
    return static_cast<float>(sum);
  };
  const auto pack = [&](std::int64_t begin, std::int64_t end) {
    float* to = a.packed + begin * Columns::kInputs * Rows::kInputs * pieces * kLanes;
    for (std::int64_t block = begin; block < end; ++block)
      for (int k = 0; k < Columns::kInputs; ++k)
        for (int l = 0; l < Rows::kInputs; ++l)
          for (std::int64_t piece = 0; piece < pieces; ++piece)
            for (std::int64_t o = block * kLanes; o < (block + 1) * kLanes; ++o)
              *to++ = o < a.filters ? turned(o, k, l, piece) : 0;
  };
  parallel_for(blocks, Rows::kInputs * Columns::kInputs * taps * kLanes, a.num_threads, pack);
  return Status::ok;
}

inline Status depthwise_winograd_pack(const DepthwiseWinogradPackArgs& a) {
  if (a.filters < 0 || a.kernel_h < 1 || a.kernel_w < 1) return Status::bad_sizes;
  return a.cuts_rows ? pack_depthwise_winograd<WinogradPieces, WinogradPieces>(a)
                     : pack_depthwise_winograd<WinogradUncut, WinogradPieces>(a);
}
