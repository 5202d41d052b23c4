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

inline Vec broadcast(float value) { return value - Vec{}; }

// A NaN in v stays.
inline Vec at_least(float bound, Vec v) { return v < bound ? broadcast(bound) : v; }
inline Vec at_most(float bound, Vec v) { return v > bound ? broadcast(bound) : v; }
