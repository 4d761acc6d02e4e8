/// @file
/// Conversion of values to C++ types. Part of value.hpp.

#ifndef WSLINK_CONVERT_HPP
#define WSLINK_CONVERT_HPP

#include "value.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

// Variables for results of C are not initialised, and read only if C has written them. AMD processors predict that a
// load from the stack returns the value that was last stored through the same address expression (memory renaming).
// That would be the zero of the initialisation, and not what C has stored through a pointer, and each misprediction
// flushes the pipeline.

// The bulk copies of C, as overloads.
inline bool copy_numbers(wslink_value v, double *out, std::size_t most, std::size_t *n) noexcept {
  return wslink_value_copy_doubles(v, out, most, n);
}
inline bool copy_numbers(wslink_value v, float *out, std::size_t most, std::size_t *n) noexcept {
  return wslink_value_copy_floats(v, out, most, n);
}
inline bool copy_numbers(wslink_value v, std::int64_t *out, std::size_t most, std::size_t *n) noexcept {
  return wslink_value_copy_int64s(v, out, most, n);
}
inline bool copy_numbers(wslink_value v, std::uint64_t *out, std::size_t most, std::size_t *n) noexcept {
  return wslink_value_copy_uint64s(v, out, most, n);
}
inline bool copy_numbers(wslink_value v, std::int32_t *out, std::size_t most, std::size_t *n) noexcept {
  return wslink_value_copy_int32s(v, out, most, n);
}
inline bool copy_numbers(wslink_value v, std::uint8_t *out, std::size_t most, std::size_t *n) noexcept {
  return wslink_value_copy_uint8s(v, out, most, n);
}

template <class T, class... Any>
inline constexpr bool is_one_of = (std::is_same_v<T, Any> || ...);
/// The element types that are copied in bulk.
template <class T>
inline constexpr bool is_bulk = is_one_of<T, double, float, std::int64_t, std::uint64_t, std::int32_t, std::uint8_t>;
/// The types of text, which are read in bulk.
template <class T>
inline constexpr bool is_text = is_one_of<T, std::string, std::string_view>;

template <class T, class = void>
struct has_from_value : std::false_type {};
template <class T>
struct has_from_value<T, std::void_t<decltype(from_value<T>::get(std::declval<value>(), std::declval<T &>()))>>
    : std::true_type {};

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T, class A>
struct is_vector<std::vector<T, A>> : std::true_type {};
template <class T>
struct is_array : std::false_type {};
template <class T, std::size_t N>
struct is_array<std::array<T, N>> : std::true_type {};
template <class T>
struct is_array_view : std::false_type {};
template <class T>
struct is_array_view<array_view<T>> : std::true_type {};
template <class T>
struct is_string_map : std::false_type {};
template <class T, class C, class A>
struct is_string_map<std::map<std::string, T, C, A>> : std::true_type {};
template <class T, class H, class E, class A>
struct is_string_map<std::unordered_map<std::string, T, H, E, A>> : std::true_type {};
template <class>
inline constexpr bool always_false = false;

template <class T>
bool convert_integer(wslink_value v, T &to) noexcept {
  if constexpr (std::is_signed_v<T>) {
    std::int64_t wide;
    if (!wslink_value_get_int(v, &wide))
      return false;
    if (wide < (std::numeric_limits<T>::min)() || wide > (std::numeric_limits<T>::max)())
      return false;
    to = static_cast<T>(wide);
  } else {
    std::uint64_t wide;
    if (!wslink_value_get_uint(v, &wide) || wide > (std::numeric_limits<T>::max)())
      return false;
    to = static_cast<T>(wide);
  }
  return true;
}

template <class T, class A>
bool convert_vector(const value &from, std::vector<T, A> &to) {
  wslink_value v = from.c_value();
  if constexpr (std::is_same_v<T, std::uint8_t>) {
    wslink_bytes data;
    if (wslink_value_get_bytes(v, &data)) {
      if (data.len)
        to.assign(data.ptr, data.ptr + data.len);
      return true;
    }
  }
  if (!from.is_array())
    return false;
  std::size_t count = from.size();
  if constexpr (is_bulk<T> && !has_from_value<T>::value) {
    to.resize(count);
    return copy_numbers(v, to.data(), count, &count);
  } else if constexpr (is_text<T> && !has_from_value<T>::value) {
    to.reserve(count);
    return from.each_string([&](std::string_view text) { to.emplace_back(text); });
  } else {
    to.reserve(count);
    for (const value &element : from) {
      T one{};
      if (!convert(element, one))
        return false;
      to.push_back(std::move(one));
    }
    return true;
  }
}

template <class T, std::size_t N>
bool convert_array(const value &from, std::array<T, N> &to) {
  if constexpr (is_bulk<T> && !has_from_value<T>::value) {
    std::size_t count;
    if constexpr (is_small<std::array<T, N>>) {
      // A local copy, because `to` may be initialised, see above.
      std::array<T, N> numbers;
      if (!copy_numbers(from.c_value(), numbers.data(), N, &count) || count != N)
        return false;
      to = numbers;
      return true;
    } else {
      return copy_numbers(from.c_value(), to.data(), N, &count) && count == N;
    }
  } else {
    if (!from.is_array() || from.size() != N)
      return false;
    auto place = to.begin();
    for (const value &element : from) {
      if (!convert(element, *place++))
        return false;
    }
    return true;
  }
}

template <class M>
bool convert_map(const value &from, M &to) {
  if (!from.is_map())
    return false;
  for (const value::item &pair : from.items()) {
    std::string_view key;
    typename M::mapped_type one{};
    if (!convert(pair.key, key) || !convert(pair.value, one))
      return false;
    to.insert_or_assign(std::string(key), std::move(one));
  }
  return true;
}

template <class T>
bool convert(const value &from, T &to) {
  wslink_value v = from.c_value();
  if constexpr (has_from_value<T>::value) {
    return from_value<T>::get(from, to);
  } else if constexpr (std::is_same_v<T, value>) {
    to = from;
    return static_cast<bool>(from);
  } else if constexpr (std::is_same_v<T, bool>) {
    bool truth;
    if (!wslink_value_get_bool(v, &truth))
      return false;
    to = truth;
    return true;
  } else if constexpr (std::is_integral_v<T>) {
    static_assert(!is_one_of<T, char, wchar_t, char16_t, char32_t>, "a character is neither a number nor text");
    return convert_integer(v, to);
  } else if constexpr (std::is_floating_point_v<T>) {
    double wide;
    if (!wslink_value_get_double(v, &wide))
      return false;
    to = static_cast<T>(wide);
    return true;
  } else if constexpr (is_text<T>) {
    wslink_str text;
    if (!wslink_value_get_string(v, &text))
      return false;
    to = T(view_of(text));
    return true;
  } else if constexpr (std::is_same_v<T, bytes_view>) {
    wslink_bytes data;
    if (!wslink_value_get_bytes(v, &data))
      return false;
    to = bytes_view(data.ptr, data.len);
    return true;
  } else if constexpr (is_array_view<T>::value) {
    wslink_bytes data;
    if (!wslink_value_get_bytes(v, &data))
      return false;
    error no_array;
    to = T(bytes_view(data.ptr, data.len), &no_array);
    return !no_array;
  } else if constexpr (std::is_same_v<T, buffer>) {
    const wslink_buffer *kept = nullptr;
    if (!wslink_value_get_buffer(v, &kept))
      return false;
    to = buffer::from_c(kept);
    return true;
  } else if constexpr (std::is_same_v<T, ext_view>) {
    wslink_bytes data;
    if (!wslink_value_get_ext(v, &to.type, &data))
      return false;
    to.data = bytes_view(data.ptr, data.len);
    return true;
  } else if constexpr (std::is_same_v<T, big_integer_view>) {
    wslink_str digits;
    if (!wslink_value_get_bigint(v, &digits))
      return false;
    to.digits = view_of(digits);
    return true;
  } else if constexpr (is_optional<T>::value) {
    if (!from || from.is_null()) {
      to.reset();
      return true;
    }
    return convert(from, to.emplace());
  } else if constexpr (is_vector<T>::value) {
    return convert_vector(from, to);
  } else if constexpr (is_array<T>::value) {
    return convert_array(from, to);
  } else if constexpr (is_string_map<T>::value) {
    return convert_map(from, to);
  } else {
    static_assert(always_false<T>, "no way to read this type from a value: specialise wslink::from_value");
    return false;
  }
}

/// The name of a type in an error message.
template <class T>
constexpr const char *wanted_name() noexcept {
  if constexpr (std::is_same_v<T, bool>)
    return "a truth value";
  if constexpr (std::is_integral_v<T>)
    return "an integer of the type asked for";
  if constexpr (std::is_floating_point_v<T>)
    return "a number";
  if constexpr (is_text<T>)
    return "text";
  if constexpr (is_one_of<T, bytes_view, buffer> || is_array_view<T>::value)
    return "binary data";
  if constexpr (is_vector<T>::value || is_array<T>::value)
    return "a list of the type asked for";
  if constexpr (is_string_map<T>::value)
    return "a map of the type asked for";
  return "of the type asked for";
}

} // namespace detail

template <class T>
std::optional<std::size_t> value::copy_to(T *out, std::size_t capacity) const noexcept {
  std::size_t count;
  if (!detail::copy_numbers(view_, out, capacity, &count))
    return std::nullopt;
  return count < capacity ? count : capacity;
}

template <class T>
void value::fail_get(value from, error *err) {
  if (!from) {
    return detail::fail(error(code::not_found, "there is no such value (no such key or index)"), err);
  }
  if constexpr (detail::is_array_view<T>::value) {
    wslink_bytes data;
    if (wslink_value_get_bytes(from.c_value(), &data)) {
      T(bytes_view(data.ptr, data.len), err); // its error names the wrong size
      return;
    }
  }
  std::string message = "the value is ";
  message += to_text(from.kind());
  message += ", not ";
  message += detail::wanted_name<T>();
  detail::fail(error(code::kind, std::move(message)), err);
}

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_CONVERT_HPP
