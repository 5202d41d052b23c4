// SPDX-License-Identifier: Apache-2.0
// The vector of a target and the operations that kernels are written in, by the compiler's vector
// extension: one text for every width. Included inside a target's namespace and region.
//
// A kernel says kLanes where it means the width, and never a number.

constexpr std::int64_t kLanes = CONVSMITH_LANES;

typedef float Vec __attribute__((vector_size(CONVSMITH_LANES * sizeof(float))));
typedef float UnalignedVec
    __attribute__((vector_size(CONVSMITH_LANES * sizeof(float)), aligned(4), may_alias));

inline Vec zero() { return Vec{}; }

inline Vec load(const float* from) { return *reinterpret_cast<const UnalignedVec*>(from); }

inline void store(float* to, Vec v) { *reinterpret_cast<UnalignedVec*>(to) = v; }

// a * b + c, rounded once where the target has a fused instruction (-ffp-contract=fast).
inline Vec mul_add(Vec a, Vec b, Vec c) { return a * b + c; }

// Four neighbouring lanes, the unit in which tables of floats are turned.
typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

// A pattern over four lanes of two vectors, repeated in every quad. Lane i of the second is
// CONVSMITH_LANES + i.
#if CONVSMITH_LANES == 4
#define CONVSMITH_IN_QUADS(a, b, c, d) a, b, c, d
#elif CONVSMITH_LANES == 8
#define CONVSMITH_IN_QUADS(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#else
#define CONVSMITH_IN_QUADS(a, b, c, d) \
  a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
#endif

// Turns the 4 x 4 table that each quad of the four vectors makes.
inline void transpose_quads(Vec (&v)[4]) {
  constexpr int n = CONVSMITH_LANES;
  const Vec low01 = __builtin_shufflevector(v[0], v[1], CONVSMITH_IN_QUADS(0, n, 1, n + 1));
  const Vec high01 = __builtin_shufflevector(v[0], v[1], CONVSMITH_IN_QUADS(2, n + 2, 3, n + 3));
  const Vec low23 = __builtin_shufflevector(v[2], v[3], CONVSMITH_IN_QUADS(0, n, 1, n + 1));
  const Vec high23 = __builtin_shufflevector(v[2], v[3], CONVSMITH_IN_QUADS(2, n + 2, 3, n + 3));
  v[0] = __builtin_shufflevector(low01, low23, CONVSMITH_IN_QUADS(0, 1, n, n + 1));
  v[1] = __builtin_shufflevector(low01, low23, CONVSMITH_IN_QUADS(2, 3, n + 2, n + 3));
  v[2] = __builtin_shufflevector(high01, high23, CONVSMITH_IN_QUADS(0, 1, n, n + 1));
  v[3] = __builtin_shufflevector(high01, high23, CONVSMITH_IN_QUADS(2, 3, n + 2, n + 3));
}
#undef CONVSMITH_IN_QUADS

// Quad q of the result is the four floats at from[4 * q].
inline Vec load_quads(const float* const* from) {
  const auto quad = [&](int q) { return *reinterpret_cast<const Quad*>(from[4 * q]); };
#if CONVSMITH_LANES == 4
  return quad(0);
#elif CONVSMITH_LANES == 8
  return __builtin_shufflevector(quad(0), quad(1), 0, 1, 2, 3, 4, 5, 6, 7);
#else
  const auto pair = [&](int q) {
    return __builtin_shufflevector(quad(q), quad(q + 1), 0, 1, 2, 3, 4, 5, 6, 7);
  };
  return __builtin_shufflevector(pair(0), pair(2), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                                 15);
#endif
}

// The reverse: the four floats at to[4 * q] become quad q.
inline void store_quads(float* const* to, Vec v) {
  const Quad* quads = reinterpret_cast<const Quad*>(&v);
  for (int q = 0; q < CONVSMITH_LANES / 4; ++q) *reinterpret_cast<Quad*>(to[4 * q]) = quads[q];
}

// Half as many floats, each twice: a a b b ...
template <int... lane>
inline Vec load_twice(const float* from, std::integer_sequence<int, lane...>) {
  typedef float Half
      __attribute__((vector_size(CONVSMITH_LANES * sizeof(float) / 2), aligned(4), may_alias));
  const Half half = *reinterpret_cast<const Half*>(from);
  return __builtin_shufflevector(half, half, (lane / 2)...);
}
inline Vec load_twice(const float* from) {
  return load_twice(from, std::make_integer_sequence<int, CONVSMITH_LANES>{});
}

// Vector `which` of three channels laid pixel by pixel: r0 g0 b0 r1 g1 b1 ...
template <int which, int... lane>
inline Vec interleaved(Vec r, Vec g, Vec b, std::integer_sequence<int, lane...>) {
  constexpr int n = CONVSMITH_LANES;
  const Vec two = __builtin_shufflevector(
      r, g, ((which * n + lane) / 3 + ((which * n + lane) % 3 == 1 ? n : 0))...);
  return __builtin_shufflevector(
      two, b, ((which * n + lane) % 3 == 2 ? n + (which * n + lane) / 3 : lane)...);
}

// kLanes pixels of three channels, to 3 * kLanes floats.
inline void interleave(Vec r, Vec g, Vec b, float* to) {
  constexpr std::make_integer_sequence<int, CONVSMITH_LANES> lanes{};
  store(to, interleaved<0>(r, g, b, lanes));
  store(to + kLanes, interleaved<1>(r, g, b, lanes));
  store(to + 2 * kLanes, interleaved<2>(r, g, b, lanes));
}

// The same pointer, of which the compiler knows nothing: it computes and loads what it needs when
// it needs it, instead of keeping what it might need again in registers that the sums live in.
template <class Float>
inline Float* unknown(Float* pointer) {
  asm("" : "+r"(pointer));
  return pointer;
}

// The compiler may take a value that was loaded from memory again, once for each use; not this one.
inline void keep_in_register(Vec& v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#else
  asm("" : "+w"(v));
#endif
}

inline Vec broadcast(float value) { return value - Vec{}; }

// The first `count` lanes, or all of them; the others read as zero and are not written. What lies
// behind them need not be memory.
#if defined(__x86_64__) && !defined(__clang__) && CONVSMITH_LANES == 16
inline std::uint16_t lanes_up_to(std::int64_t count) {
  return static_cast<std::uint16_t>((1u << count) - 1);
}
inline Vec load_up_to(const float* from, std::int64_t count) {
  if (count >= kLanes) return load(from);
  return __builtin_ia32_loadups512_mask(from, Vec{}, lanes_up_to(count));
}
inline void store_up_to(float* to, Vec v, std::int64_t count) {
  if (count >= kLanes) return store(to, v);
  __builtin_ia32_storeups512_mask(to, v, lanes_up_to(count));
}
#elif defined(__x86_64__) && !defined(__clang__) && CONVSMITH_LANES == 8
typedef std::int32_t Lanes __attribute__((vector_size(32)));
inline Lanes lanes_up_to(std::int64_t count) {
  return Lanes{0, 1, 2, 3, 4, 5, 6, 7} < static_cast<std::int32_t>(count);
}
inline Vec load_up_to(const float* from, std::int64_t count) {
  if (count >= kLanes) return load(from);
  return __builtin_ia32_maskloadps256(reinterpret_cast<const Vec*>(from), lanes_up_to(count));
}
inline void store_up_to(float* to, Vec v, std::int64_t count) {
  if (count >= kLanes) return store(to, v);
  __builtin_ia32_maskstoreps256(reinterpret_cast<Vec*>(to), lanes_up_to(count), v);
}
#else
inline Vec load_up_to(const float* from, std::int64_t count) {
  if (count >= kLanes) return load(from);
  Vec v{};
  for (std::int64_t i = 0; i < count; ++i) v[i] = from[i];
  return v;
}
inline void store_up_to(float* to, Vec v, std::int64_t count) {
  if (count >= kLanes) return store(to, v);
  for (std::int64_t i = 0; i < count; ++i) to[i] = v[i];
}
#endif

// The lanes whose bits are set; the others read as zero, and what lies there need not be memory.
#if defined(__x86_64__) && !defined(__clang__) && CONVSMITH_LANES == 16
inline Vec load_where(const float* from, std::uint32_t lanes) {
  return __builtin_ia32_loadups512_mask(from, Vec{}, static_cast<std::uint16_t>(lanes));
}
#elif defined(__x86_64__) && !defined(__clang__) && CONVSMITH_LANES == 8
inline Vec load_where(const float* from, std::uint32_t lanes) {
  const Lanes bits{1, 2, 4, 8, 16, 32, 64, 128};
  return __builtin_ia32_maskloadps256(reinterpret_cast<const Vec*>(from),
                                      (bits & static_cast<std::int32_t>(lanes)) != 0);
}
#else
inline Vec load_where(const float* from, std::uint32_t lanes) {
  Vec v{};
  for (std::int64_t i = 0; i < kLanes; ++i)
    if (lanes >> i & 1) v[i] = from[i];
  return v;
}
#endif

// One instruction of x86 chooses the second operand unless the first one is the greater (smaller).
// gcc does not see it in a choice between vectors.
#if defined(__x86_64__) && !defined(__clang__)
#if CONVSMITH_LANES == 4
inline Vec greater(Vec a, Vec b) { return __builtin_ia32_maxps(a, b); }
inline Vec smaller(Vec a, Vec b) { return __builtin_ia32_minps(a, b); }
#elif CONVSMITH_LANES == 8
inline Vec greater(Vec a, Vec b) { return __builtin_ia32_maxps256(a, b); }
inline Vec smaller(Vec a, Vec b) { return __builtin_ia32_minps256(a, b); }
#else
constexpr int kCurrentRounding = 4;
inline Vec greater(Vec a, Vec b) {
  return __builtin_ia32_maxps512_mask(a, b, a, -1, kCurrentRounding);
}
inline Vec smaller(Vec a, Vec b) {
  return __builtin_ia32_minps512_mask(a, b, a, -1, kCurrentRounding);
}
#endif
#else
inline Vec greater(Vec a, Vec b) { return a > b ? a : b; }
inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
#endif

// A NaN in v stays.
inline Vec at_least(float bound, Vec v) { return greater(broadcast(bound), v); }
inline Vec at_most(float bound, Vec v) { return smaller(broadcast(bound), v); }
