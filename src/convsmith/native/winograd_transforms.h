// SPDX-License-Identifier: Apache-2.0
// Winograd's transforms, from points to matrices to straight-line code; all at compile time.
//
// A correlation of one axis, y[i] = sum_j g[j] d[i + j] with m outputs and r taps, costs n = m + r
// - 1 products instead of m r:
//
//   y = A ((G g) * (B d))        * is element by element
//
// Cook and Toom: a product of polynomials is known from its values at n points. With the points
// a_0 ... a_{n-2} and infinity, M(x) = prod_l (x - a_l) and M_k(x) = M(x) / (x - a_k):
//
//   B, n x n    row k: the coefficients of M_k; the last row: those of M
//   G, n x r    row k: a_k^j / M_k(a_k);        the last row: 0 ... 0 1
//   A, m x n    column k: a_k^i;                the last column: 0 ... 0 1
//
// Source: Toom 1963; Cook 1966; Winograd: Arithmetic Complexity of Computations, 1980; Lavin and
// Gray: Fast Algorithms for Convolutional Neural Networks, 2015.

// In lowest terms, the denominator positive.
struct Rational {
  std::int64_t numerator = 0, denominator = 1;

  friend constexpr bool operator==(Rational, Rational) = default;
  friend constexpr Rational operator-(Rational a) { return {-a.numerator, a.denominator}; }
  friend constexpr Rational operator+(Rational a, Rational b) {
    return ratio(a.numerator * b.denominator + b.numerator * a.denominator,
                 a.denominator * b.denominator);
  }
  friend constexpr Rational operator-(Rational a, Rational b) { return a + -b; }
  friend constexpr Rational operator*(Rational a, Rational b) {
    return ratio(a.numerator * b.numerator, a.denominator * b.denominator);
  }
  friend constexpr Rational operator/(Rational a, Rational b) {
    return ratio(a.numerator * b.denominator, a.denominator * b.numerator);
  }
  explicit constexpr operator double() const {
    return static_cast<double>(numerator) / static_cast<double>(denominator);
  }

 private:
  static constexpr Rational ratio(std::int64_t a, std::int64_t b) {
    const std::int64_t divisor = (b < 0 ? -1 : 1) * std::gcd(a, b);
    return {a / divisor, b / divisor};
  }
};

constexpr Rational kZero{0}, kOne{1}, kHalf{1, 2};

template <int rows, int columns>
struct Matrix {
  Rational at[rows][columns];
};

// Whether sum_k A[i][k] G[k][j] B[k][l] is one where first + l = i + j and else zero, exactly.
template <int m, int r, int n, int inputs>
constexpr bool is_a_correlation(const Matrix<m, n>& a, const Matrix<n, r>& g,
                                const Matrix<n, inputs>& b, int first) {
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < r; ++j)
      for (int l = 0; l < inputs; ++l) {
        Rational sum;
        for (int k = 0; k < n; ++k) sum = sum + a.at[i][k] * g.at[k][j] * b.at[k][l];
        if (sum != (first + l == i + j ? kOne : kZero)) return false;
      }
  return true;
}

// The three matrices for m outputs and r taps.
template <int m, int r, Rational... points>
struct CookToom {
  static constexpr int kOutputs = m, kTaps = r, kInputs = m + r - 1;
  static constexpr Rational kPoints[] = {points...};
  static_assert(sizeof...(points) == kInputs - 1, "one point less than inputs; infinity is added");

  static constexpr Matrix<kInputs, kInputs> input_matrix() {
    Matrix<kInputs, kInputs> b{};
    for (int k = 0; k < kInputs; ++k) {
      b.at[k][0] = kOne;
      for (int l = 0, degree = 0; l < kInputs - 1; ++l)
        if (l != k) {  // times (x - a_l)
          ++degree;
          for (int i = degree; i >= 0; --i)
            b.at[k][i] = (i > 0 ? b.at[k][i - 1] : kZero) - kPoints[l] * b.at[k][i];
        }
    }
    return b;
  }

  static constexpr Matrix<kInputs, r> kernel_matrix() {
    Matrix<kInputs, r> g{};
    g.at[kInputs - 1][r - 1] = kOne;
    for (int k = 0; k < kInputs - 1; ++k) {
      Rational power = kOne;
      for (int l = 0; l < kInputs - 1; ++l)
        if (l != k) power = power / (kPoints[k] - kPoints[l]);
      for (int j = 0; j < r; ++j, power = power * kPoints[k]) g.at[k][j] = power;
    }
    return g;
  }

  static constexpr Matrix<m, kInputs> output_matrix() {
    Matrix<m, kInputs> a{};
    a.at[m - 1][kInputs - 1] = kOne;
    for (int k = 0; k < kInputs - 1; ++k) {
      Rational power = kOne;
      for (int i = 0; i < m; ++i, power = power * kPoints[k]) a.at[i][k] = power;
    }
    return a;
  }

  static constexpr auto kInput = input_matrix();    // B
  static constexpr auto kKernel = kernel_matrix();  // G
  static constexpr auto kOutput = output_matrix();  // A

  static constexpr bool is_exact() {
    return is_a_correlation(output_matrix(), kernel_matrix(), input_matrix(), 0);
  }
};

// Calls body(std::integral_constant<int, 0>) and so on: a loop whose counter is a constant.
template <int count, class Body>
[[gnu::always_inline]] inline void for_constants(const Body& body) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (body(std::integral_constant<int, i>{}), ...);
  }(std::make_integer_sequence<int, count>{});
}

// sum + factor * v, for nothing where the factor is zero and without rounding where it is one.
template <Rational factor>
[[gnu::always_inline]] inline Vec add_multiple(Vec sum, Vec v) {
  if constexpr (factor == kZero) return sum;
  if constexpr (factor == kOne) return sum + v;
  if constexpr (factor == -kOne) return sum - v;
  return mul_add(v, broadcast(static_cast<float>(double(factor))), sum);
}

// One row of a matrix times vectors. It starts at a factor of one, if there is any.
template <const auto& matrix, int row, int n>
[[gnu::always_inline]] inline Vec combine(const Vec (&v)[n]) {
  constexpr int start = [] {
    int first = n;
    for (int i = n - 1; i >= 0; --i)
      if (matrix.at[row][i] != kZero) first = i;
    for (int i = n - 1; i >= 0; --i)
      if (matrix.at[row][i] == kOne) first = i;
    return first;
  }();
  constexpr Rational factor = matrix.at[row][start];
  Vec sum = v[start];
  if constexpr (factor != kOne) sum *= broadcast(static_cast<float>(double(factor)));
  for_constants<n>([&]<int i>(std::integral_constant<int, i>) __attribute__((always_inline)) {
    if constexpr (i != start) sum = add_multiple<matrix.at[row][i]>(sum, v[i]);
  });
  return sum;
}

// A polynomial's values at a and -a share their even and their odd part. So do the rows of B, and
// the columns of A, that belong to two such points, one after the other:
//
//   B d:  even + odd, even - odd          A m:  even (m_k + m_{k+1}) + odd (m_k - m_{k+1})
template <class Exact>
struct WinogradTransforms : Exact {
  static constexpr int n = Exact::kInputs;
  static constexpr int kPixels = n, kFirst = 0;  // the pixels of a window that a tile reads
  static_assert(Exact::is_exact());

  static constexpr bool is_upper_of_pair(int k) {
    return k >= 0 && k + 1 < n - 1 && Exact::kPoints[k] == -Exact::kPoints[k + 1] &&
           Exact::kPoints[k] != kZero && !is_upper_of_pair(k - 1);
  }

  // The odd part is divided by its leading coefficient, to be multiplied in the sum above.
  static constexpr Rational odd_factor(int k) {
    Rational leading;
    for (int i = 0; i < n; ++i) {
      const Rational odd = (Exact::kInput.at[k][i] - Exact::kInput.at[k + 1][i]) * kHalf;
      if (odd != kZero) leading = odd;
    }
    return leading;
  }

  static constexpr auto kPairedInput = [] {
    auto b = Exact::kInput;
    for (int k = 0; k < n; ++k)
      if (is_upper_of_pair(k))
        for (int i = 0; i < n; ++i) {
          const Rational upper = Exact::kInput.at[k][i], lower = Exact::kInput.at[k + 1][i];
          b.at[k][i] = (upper + lower) * kHalf;
          b.at[k + 1][i] = (upper - lower) * kHalf / odd_factor(k);
        }
    return b;
  }();

  // G without its divisors M_k(a_k), which may as well wait until the products are summed: powers
  // of the points, that are ones at 0 and at infinity.
  static constexpr auto kPowers = [] {
    auto powers = Exact::kKernel;
    for (int k = 0; k < n - 1; ++k)
      for (Rational& power : powers.at[k]) power = power / Exact::kKernel.at[k][0];
    return powers;
  }();

  // What the sums of row k are to be multiplied by instead.
  static constexpr float divisor(int k) {
    return k == n - 1 ? 1 : static_cast<float>(double(Exact::kKernel.at[k][0]));
  }

  // The odd part of two points' powers is divided by the point.
  static constexpr auto kPairedPowers = [] {
    auto powers = kPowers;
    for (int k = 0; k < n; ++k)
      if (is_upper_of_pair(k))
        for (int j = 0; j < Exact::kTaps; ++j) {
          const Rational upper = kPowers.at[k][j], lower = kPowers.at[k + 1][j];
          powers.at[k][j] = (upper + lower) * kHalf;
          powers.at[k + 1][j] = (upper - lower) * kHalf / Exact::kPoints[k];
        }
    return powers;
  }();

  static constexpr auto kPairedOutput = [] {
    auto a = Exact::kOutput;
    for (int k = 0; k < n; ++k)
      if (is_upper_of_pair(k))
        for (auto& row : a.at) {
          const Rational upper = row[k], lower = row[k + 1];
          row[k] = (upper + lower) * kHalf;
          row[k + 1] = (upper - lower) * kHalf;
        }
    return a;
  }();

  // v = B d
  [[gnu::always_inline]] static void transform_input(const Vec (&d)[n], Vec (&v)[n]) {
    const auto row = [&]<int k>(std::integral_constant<int, k>) __attribute__((always_inline)) {
      if constexpr (is_upper_of_pair(k)) {
        const Vec even = combine<kPairedInput, k>(d), odd = combine<kPairedInput, k + 1>(d);
        v[k] = add_multiple<odd_factor(k)>(even, odd);
        v[k + 1] = add_multiple<-odd_factor(k)>(even, odd);
      } else if constexpr (!is_upper_of_pair(k - 1)) {
        v[k] = combine<kPairedInput, k>(d);
      }
    };
    for_constants<n>(row);
  }

  // Calls body(k, u_k) for u = G g without divisors, from `first` on; a pair is not cut in two.
  template <int first, int count, class Body>
  [[gnu::always_inline]] static void for_kernel_rows(const Vec (&g)[Exact::kTaps],
                                                     const Body& body) {
    static_assert(!is_upper_of_pair(first - 1) && !is_upper_of_pair(first + count - 1));
    for_constants<count>([&]<int i>(std::integral_constant<int, i>) __attribute__((always_inline)) {
      constexpr int k = first + i;
      if constexpr (is_upper_of_pair(k)) {
        const Vec even = combine<kPairedPowers, k>(g), odd = combine<kPairedPowers, k + 1>(g);
        body(k, add_multiple<Exact::kPoints[k]>(even, odd));
        body(k + 1, add_multiple<-Exact::kPoints[k]>(even, odd));
      } else if constexpr (!is_upper_of_pair(k - 1)) {
        body(k, combine<kPowers, k>(g));
      }
    });
  }

  // y = A m
  [[gnu::always_inline]] static void transform_output(const Vec (&m)[n],
                                                      Vec (&y)[Exact::kOutputs]) {
    Vec sums[n];
    const auto pair = [&]<int k>(std::integral_constant<int, k>) __attribute__((always_inline)) {
      if constexpr (is_upper_of_pair(k)) {
        sums[k] = m[k] + m[k + 1];
        sums[k + 1] = m[k] - m[k + 1];
      } else if constexpr (!is_upper_of_pair(k - 1)) {
        sums[k] = m[k];
      }
    };
    for_constants<n>(pair);
    for_constants<Exact::kOutputs>([&]<int i>(std::integral_constant<int, i>) __attribute__((
                                       always_inline)) { y[i] = combine<kPairedOutput, i>(sums); });
  }
};
