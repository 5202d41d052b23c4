// SPDX-License-Identifier: Apache-2.0
// What happens to a sum while it is still in a register:
//
//   y = activation(sum + bias + residual)
//
// Included inside a target's namespace and region, once: no include guard.

// The order of ACTIVATIONS in convsmith/native/epilogue.py.
enum class Activation : std::int64_t { none, relu, relu6, hard_swish, silu };
constexpr std::int64_t kNumActivations = 5;

// e^v to two units in the last place; infinity from e^88.4 on; a NaN stays.
inline Vec exp(Vec v) {
  typedef std::int32_t Ints __attribute__((vector_size(sizeof(Vec))));
  constexpr float kToNearest = 12582912.0f;  // 1.5 * 2^23: adding it leaves no fraction
  v = at_least(-87.0f, at_most(89.0f, v));
  const Vec n = mul_add(v, broadcast(1.44269504f), broadcast(kToNearest)) - kToNearest;
  // v = n log 2 + r, with log 2 in two parts; |r| <= log(2) / 2.
  Vec r = mul_add(n, broadcast(-0.693359375f), v);
  r = mul_add(n, broadcast(2.12194440e-4f), r);
  Vec sum = broadcast(1.0f / 5040);
  for (float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    sum = mul_add(sum, r, broadcast(coefficient));
  const Ints bits = (__builtin_convertvector(n, Ints) + 127) << 23;
  return sum * reinterpret_cast<Vec>(bits);
}

template <Activation activation>
Vec activate(Vec v) {
  if constexpr (activation == Activation::relu) return at_least(0, v);
  if constexpr (activation == Activation::relu6) return at_most(6, at_least(0, v));
  if constexpr (activation == Activation::hard_swish) return v * at_most(6, at_least(0, v + 3)) / 6;
  if constexpr (activation == Activation::silu) return v / (exp(-v) + 1);
  return v;
}

// Calls body(std::integral_constant<Activation, ...>): one branch for many vectors.
template <class Body>
void with_activation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::none:
      return body(std::integral_constant<Activation, Activation::none>{});
    case Activation::relu:
      return body(std::integral_constant<Activation, Activation::relu>{});
    case Activation::relu6:
      return body(std::integral_constant<Activation, Activation::relu6>{});
    case Activation::hard_swish:
      return body(std::integral_constant<Activation, Activation::hard_swish>{});
    case Activation::silu:
      return body(std::integral_constant<Activation, Activation::silu>{});
  }
}
