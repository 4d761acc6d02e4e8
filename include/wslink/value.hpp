/// @file
/// Received data: values (views) and documents (owners).

#ifndef WSLINK_VALUE_HPP
#define WSLINK_VALUE_HPP

#include <array>
#include <iterator>
#include <limits>
#include <map>
#include <type_traits>
#include <unordered_map>

#include "buffer.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

class document;
class json_text;

/// The kind of a value.
enum class kind : std::int32_t {
  nothing = WSLINK_ERR_NULL,       ///< An empty view: no such key or index.
  null = WSLINK_KIND_NULL,         ///< Python's None.
  boolean = WSLINK_KIND_BOOL,      ///< A boolean.
  integer = WSLINK_KIND_INT,       ///< An integer in the range of std::int64_t.
  uinteger = WSLINK_KIND_UINT,     ///< An integer above that, within std::uint64_t.
  floating = WSLINK_KIND_FLOAT,    ///< A double.
  string = WSLINK_KIND_STRING,     ///< UTF-8 text.
  bytes = WSLINK_KIND_BYTES,       ///< Binary data: an attachment.
  array = WSLINK_KIND_ARRAY,       ///< A list.
  map = WSLINK_KIND_MAP,           ///< An ordered list of pairs, keys of any kind.
  ext = WSLINK_KIND_EXT,           ///< A msgpack extension.
  big_integer = WSLINK_KIND_BIGINT ///< An integer of more than 64 bits (protocol 1 only).
};

/// A short English name, such as "array". Never freed.
inline const char *to_text(kind k) noexcept { return wslink_kind_text(static_cast<std::int32_t>(k)); }

/// The style of JSON text.
enum class json_style : std::int32_t {
  plain = WSLINK_JSON_PLAIN,  ///< Strict JSON for any library; binary data as keys of attachments.
  tagged = WSLINK_JSON_TAGGED ///< Lossless: `{"$float": "NaN"}`, `{"$bytes": hex}`, ...
};

/// The encoding of a message.
enum class encoding : std::int32_t {
  json = WSLINK_ENCODING_JSON,      ///< JSON text, as protocol 1 sends it.
  msgpack = WSLINK_ENCODING_MSGPACK ///< msgpack, as protocol 2 sends it.
};

/// The data of a msgpack extension. A view, valid as long as the document.
struct ext_view {
  std::int8_t type = 0; ///< From -128 to 127; -1 is msgpack's timestamp.
  bytes_view data;      ///< The data.
};

/// An integer of more than 64 bits. A view, valid as long as the document.
struct big_integer_view {
  std::string_view digits; ///< Decimal digits, with the sign.
};

/// Specialise this to read a type of the application from a value, with
/// `static bool get(value from, T& to)` that returns false if the value is not a T.
template <class T, class Enable = void>
struct from_value;

namespace detail {

template <class T>
bool convert(const value &from, T &to);
/// Types that are cheap to copy, so that a local copy avoids the stalls that convert.hpp describes.
template <class T>
inline constexpr bool is_small = std::is_trivially_copyable_v<T> && sizeof(T) <= 64;

/// Types that point into the document.
template <class T>
struct is_borrowed : std::false_type {};
template <>
struct is_borrowed<std::string_view> : std::true_type {};
template <>
struct is_borrowed<bytes_view> : std::true_type {};
template <>
struct is_borrowed<ext_view> : std::true_type {};
template <>
struct is_borrowed<big_integer_view> : std::true_type {};
template <>
struct is_borrowed<value> : std::true_type {};
template <class T>
struct is_borrowed<array_view<T>> : std::true_type {};
template <class T>
struct is_borrowed<std::optional<T>> : is_borrowed<T> {};
template <class T, class A>
struct is_borrowed<std::vector<T, A>> : is_borrowed<T> {};

} // namespace detail

/// A value in a document: a view that is passed by value and never freed. Valid as long as the document, which share()
/// keeps. The result for a missing key or index is an empty view, so that `v["size"][0]` needs no checks in between.
/// Any thread.
class value {
public:
  class iterator;
  class item_iterator;
  class item_range;
  /// A key and a value of a map.
  struct item;

  /// An empty view.
  value() noexcept : view_{nullptr, 0} {}
  /// From a C view.
  explicit value(wslink_value view) noexcept : view_(view) {}
  /// The C view.
  wslink_value c_value() const noexcept { return view_; }

  /// Whether there is a value (null is a value).
  explicit operator bool() const noexcept { return view_.document != nullptr; }
  /// The kind of the value.
  wslink::kind kind() const noexcept { return static_cast<wslink::kind>(wslink_value_kind(view_)); }
  /// Whether the value is null. False for an empty view.
  bool is_null() const noexcept { return wslink_value_is_null(view_); }
  /// Whether the value is an integer or a float.
  bool is_number() const noexcept {
    wslink::kind k = kind();
    return k == wslink::kind::integer || k == wslink::kind::uinteger || k == wslink::kind::floating;
  }
  /// Whether the value is text.
  bool is_string() const noexcept { return kind() == wslink::kind::string; }
  /// Whether the value is binary data.
  bool is_bytes() const noexcept { return kind() == wslink::kind::bytes; }
  /// Whether the value is a list.
  bool is_array() const noexcept { return kind() == wslink::kind::array; }
  /// Whether the value is a map.
  bool is_map() const noexcept { return kind() == wslink::kind::map; }
  /// The number of elements, pairs or bytes; 0 for other kinds.
  std::size_t size() const noexcept { return wslink_value_size(view_); }
  /// Whether size() is 0.
  bool empty() const noexcept { return size() == 0; }

  /// The value of a string key of a map; an empty view if this is not a map or has no such key.
  value operator[](std::string_view key) const noexcept {
    wslink_value found; // not cleared: see convert.hpp
    return wslink_value_find(view_, detail::view_of(key), &found) ? value(found) : value();
  }
  /// As in Python: the element of a list, or the value of an integer key of a map; an empty view if there is
  /// none. Takes time in proportion to the number of elements before it; to visit all elements, iterate.
  value operator[](std::size_t index) const noexcept;

  /// The value as a T. Fails with code::not_found for an empty view, and with code::kind if the value is not a T.
  ///
  /// T is bool, an integer (fails if the value does not fit), float or double (from any number), std::string,
  /// std::vector (numbers and texts are read in bulk), std::array, std::map or std::unordered_map with string
  /// keys, std::optional (std::nullopt for null and for an empty view), buffer (keeps binary data without a copy), or a
  /// view that is valid as long as the document: std::string_view, bytes_view, ext_view, big_integer_view, value,
  /// array_view (binary data as numbers). from_value adds more types.
  template <class T>
  T get(error *err = nullptr) const {
    T out{};
    if (detail::convert(*this, out)) {
      if (err)
        err->clear();
      return out;
    }
    fail_get<T>(*this, err);
    return T{};
  }
  /// The value as a T, or std::nullopt if it is not a T.
  template <class T>
  std::optional<T> get_if() const {
    if constexpr (detail::is_small<T>)
      return copied<T>();
    else
      return made_in_place<T>();
  }
  /// The value as a T, or `otherwise` if it is not a T.
  template <class T>
  T get_or(T otherwise) const {
    std::optional<T> out = get_if<T>();
    return out ? std::move(*out) : std::move(otherwise);
  }
  /// Copies at most `capacity` numbers of a list to memory of the application. Returns how many
  /// were copied, or std::nullopt if this is not a list of numbers that fit. T is double, float, std::int64_t,
  /// std::uint64_t, std::int32_t or std::uint8_t.
  template <class T>
  std::optional<std::size_t> copy_to(T *out, std::size_t capacity) const noexcept;

  /// Calls `take(std::string_view)` for each element of a list of strings, which is faster than iterating over the
  /// list. Returns whether this is a list and all its elements are strings; it stops at the first element that is not.
  /// An exception of `take` propagates to the caller. The texts are valid as long as the document.
  template <class F>
  bool each_string(F &&take) const;

  /// The elements of a list, or the values of a map (items() also has the keys).
  iterator begin() const noexcept;
  /// After the last element.
  iterator end() const noexcept;
  /// The pairs of a map: `for (auto [key, value] : v.items())`. No pairs for other kinds.
  item_range items() const noexcept;

  /// A reference to the document of the value, which keeps the value valid. Empty for an empty view.
  document share() const noexcept;
  /// Writes the value as JSON text.
  json_text to_json(json_style style = json_style::plain, error *err = nullptr) const;

private:
  template <class T>
  std::optional<T> copied() const {
    T read{};
    return detail::convert(*this, read) ? std::optional<T>(read) : std::nullopt;
  }
  // A separate function, so that compilers construct the object in its final place: it may be too large for the stack.
  template <class T>
  std::optional<T> made_in_place() const {
    std::optional<T> out(std::in_place);
    if (!detail::convert(*this, *out))
      out.reset();
    return out;
  }
  // Passed by value, so that the view stays in registers.
  template <class T>
  static void fail_get(value from, error *err);

  wslink_value view_;
};

/// An iterator over the elements of a list, or the values of a map.
class value::iterator {
public:
  using iterator_category = std::input_iterator_tag; ///< Single pass.
  using value_type = value;                          ///< Views.
  using difference_type = std::ptrdiff_t;            ///< As in any iterator.
  using pointer = const value *;                     ///< As in any iterator.
  using reference = value;                           ///< Views are returned by value.

  /// The end.
  iterator() noexcept = default;
  /// At the first element.
  explicit iterator(wslink_iter rest) noexcept : rest_(rest) { ++*this; }
  /// The current value. Read member by member, as C has written it: one wide load would stall the processor.
  value operator*() const noexcept { return value(wslink_value{now_.view_.document, now_.view_.place}); }
  /// The current value.
  const value *operator->() const noexcept { return &now_; }
  /// Moves to the next value.
  iterator &operator++() noexcept {
    if (!wslink_iter_next(&rest_, nullptr, &now_.view_))
      now_ = value();
    return *this;
  }
  /// Moves to the next value.
  iterator operator++(int) noexcept {
    iterator before = *this;
    ++*this;
    return before;
  }
  /// Whether both are at the same value of a list.
  friend bool operator==(const iterator &a, const iterator &b) noexcept {
    return static_cast<bool>(a.now_) == static_cast<bool>(b.now_) && a.rest_.left == b.rest_.left;
  }
  /// Whether they are at different values.
  friend bool operator!=(const iterator &a, const iterator &b) noexcept { return !(a == b); }

private:
  wslink_iter rest_{{nullptr, 0}, 0, false};
  value now_;
};

/// A key and a value of a map.
struct value::item {
  wslink::value key;   ///< Mostly a string; in protocol 2 a key may be of any kind.
  wslink::value value; ///< The value of the key.
};

/// An iterator over the pairs of a map.
class value::item_iterator {
public:
  using iterator_category = std::input_iterator_tag; ///< Single pass.
  using value_type = item;                           ///< A pair of views.
  using difference_type = std::ptrdiff_t;            ///< As in any iterator.
  using pointer = const item *;                      ///< As in any iterator.
  using reference = const item &;                    ///< Valid until the iterator moves.

  /// The end.
  item_iterator() noexcept = default;
  /// At the first pair.
  explicit item_iterator(wslink_iter rest) noexcept : rest_(rest) { ++*this; }
  /// The current pair.
  const item &operator*() const noexcept { return now_; }
  /// The current pair.
  const item *operator->() const noexcept { return &now_; }
  /// Moves to the next pair.
  item_iterator &operator++() noexcept {
    wslink_value key{nullptr, 0}, found{nullptr, 0};
    wslink_iter_next(&rest_, &key, &found);
    now_ = item{wslink::value(key), wslink::value(found)};
    return *this;
  }
  /// Moves to the next pair.
  item_iterator operator++(int) noexcept {
    item_iterator before = *this;
    ++*this;
    return before;
  }
  /// Whether both are at the same pair of a map.
  friend bool operator==(const item_iterator &a, const item_iterator &b) noexcept {
    return static_cast<bool>(a.now_.value) == static_cast<bool>(b.now_.value) && a.rest_.left == b.rest_.left;
  }
  /// Whether they are at different pairs.
  friend bool operator!=(const item_iterator &a, const item_iterator &b) noexcept { return !(a == b); }

private:
  wslink_iter rest_{{nullptr, 0}, 0, false};
  item now_;
};

/// The pairs of a map, for range-for.
class value::item_range {
public:
  /// The pairs of `of`.
  explicit item_range(wslink_value of) noexcept : of_(of) {}
  /// The first pair.
  item_iterator begin() const noexcept {
    if (wslink_value_kind(of_) != WSLINK_KIND_MAP)
      return item_iterator();
    return item_iterator(wslink_value_iter(of_));
  }
  /// After the last pair.
  item_iterator end() const noexcept { return item_iterator(); }

private:
  wslink_value of_;
};

inline value::iterator value::begin() const noexcept { return iterator(wslink_value_iter(view_)); }
inline value::iterator value::end() const noexcept { return iterator(); }
inline value::item_range value::items() const noexcept { return item_range(view_); }

template <class F>
bool value::each_string(F &&take) const {
  wslink_str texts[64];
  wslink_iter rest = wslink_value_iter(view_);
  while (std::size_t count = wslink_iter_next_strings(&rest, texts, sizeof texts / sizeof *texts)) {
    for (std::size_t i = 0; i < count; i++)
      take(detail::view_of(texts[i]));
  }
  return rest.left == 0 && kind() == wslink::kind::array;
}

inline value value::operator[](std::size_t index) const noexcept {
  wslink_value found{nullptr, 0};
  if (kind() == wslink::kind::map) {
    value last; // the last of several equal keys counts, as in Python
    for (const item &pair : items()) {
      std::uint64_t key = 0;
      if (wslink_value_get_uint(pair.key.view_, &key) && key == index)
        last = pair.value;
    }
    return last;
  }
  wslink_value_at(view_, index, &found);
  return value(found);
}

inline value error::remote_data() const noexcept {
  wslink_value data{nullptr, 0};
  if (handle_)
    wslink_error_remote_data(handle_, &data);
  return value(data);
}

inline value error::remote_value() const noexcept {
  wslink_value whole{nullptr, 0};
  if (handle_)
    wslink_error_remote_value(handle_, &whole);
  return value(whole);
}

/// JSON text made of a value, and the binary data of the value. Owns both.
class json_text {
public:
  /// No text.
  json_text() noexcept = default;
  /// Leaves `other` empty.
  json_text(json_text &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  json_text &operator=(json_text &&other) noexcept {
    json_text moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  json_text(const json_text &) = delete;
  json_text &operator=(const json_text &) = delete;
  ~json_text() { wslink_json_free(handle_); }

  /// Takes ownership of a C object.
  static json_text from_c(wslink_json *handle) noexcept {
    json_text taken;
    taken.handle_ = handle;
    return taken;
  }
  /// Passes ownership of the C object to the caller.
  wslink_json *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C object, borrowed.
  const wslink_json *c_ptr() const noexcept { return handle_; }

  /// The text; valid as long as this object.
  std::string_view text() const noexcept { return detail::view_of(wslink_json_text(handle_)); }
  /// The number of attachments of the text.
  std::size_t attachment_count() const noexcept { return wslink_json_attachment_count(handle_); }
  /// The key of an attachment; empty if there is no attachment with this index. Valid as long as this object.
  std::string_view attachment_key(std::size_t index) const noexcept {
    wslink_str key{nullptr, 0};
    wslink_bytes data{nullptr, 0};
    wslink_json_attachment(handle_, index, &key, &data);
    return detail::view_of(key);
  }
  /// An attachment, without a copy; empty if there is no attachment with this index.
  buffer attachment(std::size_t index) const noexcept {
    return buffer::from_c(wslink_json_attachment_buffer(handle_, index));
  }

private:
  wslink_json *handle_ = nullptr;
};

inline json_text value::to_json(json_style style, error *err) const {
  detail::outlet out(err);
  wslink_json *made = nullptr;
  out.succeeded(wslink_value_to_json(view_, static_cast<std::int32_t>(style), &made, out.c()));
  return json_text::from_c(made);
}

/// A reference to a received message. Immutable; any thread may read it.
///
/// Has the functions of its value, result(). Views must not outlive the document: write
/// `session.call(...)["size"][0].get<int>()`, or keep the document in a variable.
class document {
public:
  /// No document.
  document() noexcept = default;
  /// Leaves `other` empty.
  document(document &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  document &operator=(document &&other) noexcept {
    document moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  document(const document &) = delete;
  document &operator=(const document &) = delete;
  // Many documents were moved from, so the call is avoided, although C accepts null.
  ~document() {
    if (handle_)
      wslink_document_unref(handle_);
  }

  /// Takes ownership of a reference to a C document.
  static document from_c(const wslink_document *handle) noexcept {
    document taken;
    taken.handle_ = handle;
    return taken;
  }
  /// Adds a reference to a borrowed C document.
  static document share_c(const wslink_document *handle) noexcept { return from_c(wslink_document_ref(handle)); }
  /// Decodes a recorded message, or any other JSON text or msgpack value. The bytes
  /// are copied: `document::decode({text.data(), text.size()}, encoding::json)`. Empty after a failure that `err`
  /// received.
  static document decode(bytes_view message, encoding how, error *err = nullptr) {
    detail::outlet out(err);
    const wslink_document *decoded = nullptr;
    out.succeeded(
        wslink_document_decode(message.data(), message.size(), static_cast<std::int32_t>(how), &decoded, out.c()));
    return from_c(decoded);
  }
  /// Passes the reference to the caller, who must call wslink_document_unref().
  const wslink_document *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C document, borrowed.
  const wslink_document *c_ptr() const noexcept { return handle_; }

  /// A further reference to the same message.
  document share() const noexcept { return share_c(handle_); }
  /// Whether there is a document.
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// The value of the reply or publication.
  value result() const noexcept { return value(wslink_document_result(handle_)); }
  /// The whole message, a map with `id` and `result`.
  value root() const noexcept { return value(wslink_document_root(handle_)); }
  /// How many bytes the message had on the wire, including its attachments.
  std::size_t wire_size() const noexcept { return wslink_document_wire_size(handle_); }

  /// As result()[key].
  value operator[](std::string_view key) const noexcept { return result()[key]; }
  /// As result()[index].
  value operator[](std::size_t index) const noexcept { return result()[index]; }
  /// As result().kind().
  wslink::kind kind() const noexcept { return result().kind(); }
  /// As result().size().
  std::size_t size() const noexcept { return result().size(); }
  /// As result().get<T>().
  template <class T>
  T get(error *err = nullptr) const & {
    return result().get<T>(err);
  }
  /// As result().get<T>(). Not for views, because the document is destroyed at the end of the expression.
  template <class T>
  T get(error *err = nullptr) && {
    static_assert(!detail::is_borrowed<T>::value, "keep the document in a variable, and the view will be valid");
    return result().get<T>(err);
  }
  /// As result().each_string().
  template <class F>
  bool each_string(F &&take) const {
    return result().each_string(std::forward<F>(take));
  }
  /// As result().begin().
  value::iterator begin() const noexcept { return result().begin(); }
  /// After the last element.
  value::iterator end() const noexcept { return value::iterator(); }
  /// As result().items().
  value::item_range items() const noexcept { return result().items(); }

private:
  const wslink_document *handle_ = nullptr;
};

inline document value::share() const noexcept { return document::share_c(view_.document); }

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#include "convert.hpp" // IWYU pragma: export

#endif // WSLINK_VALUE_HPP
