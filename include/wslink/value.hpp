/// @file
/// What arrives: values (views) and documents (owners).

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

/// What a value is.
enum class kind : std::int32_t {
  nothing = WSLINK_ERR_NULL,       ///< A view of nothing: no such key or index.
  null = WSLINK_KIND_NULL,         ///< Python's None.
  boolean = WSLINK_KIND_BOOL,      ///< A truth value.
  integer = WSLINK_KIND_INT,       ///< An integer in the range of std::int64_t.
  uinteger = WSLINK_KIND_UINT,     ///< An integer above that, within std::uint64_t.
  floating = WSLINK_KIND_FLOAT,    ///< A double.
  string = WSLINK_KIND_STRING,     ///< UTF-8 text.
  bytes = WSLINK_KIND_BYTES,       ///< Binary data: an attachment.
  array = WSLINK_KIND_ARRAY,       ///< A list.
  map = WSLINK_KIND_MAP,           ///< An ordered list of pairs, keys of any kind.
  ext = WSLINK_KIND_EXT,           ///< A msgpack extension.
  big_integer = WSLINK_KIND_BIGINT ///< An integer beyond 64 bit (protocol 1 only).
};

/// A short English name, such as "array". Never freed.
inline const char *to_text(kind k) noexcept { return wslink_kind_text(static_cast<std::int32_t>(k)); }

/// How JSON text is written.
enum class json_style : std::int32_t {
  plain = WSLINK_JSON_PLAIN,  ///< Strict JSON for any library; binary data as keys of attachments.
  tagged = WSLINK_JSON_TAGGED ///< Nothing is lost: `{"$float": "NaN"}`, `{"$bytes": hex}`, ...
};

/// How a message is written.
enum class encoding : std::int32_t {
  json = WSLINK_ENCODING_JSON,      ///< JSON text, as protocol 1 sends it.
  msgpack = WSLINK_ENCODING_MSGPACK ///< msgpack, as protocol 2 sends it.
};

/// The data of a msgpack extension. A view, valid as long as the document.
struct ext_view {
  std::int8_t type = 0; ///< From -128 to 127; -1 is msgpack's timestamp.
  bytes_view data;      ///< The data.
};

/// An integer beyond 64 bit. A view, valid as long as the document.
struct big_integer_view {
  std::string_view digits; ///< Decimal digits, with the sign.
};

/// How a type of the application is read from a value: specialise it with
/// `static bool get(value from, T& to)` that returns false if the value is not one.
template <class T, class Enable = void>
struct from_value;

namespace detail {

template <class T>
bool convert(const value &from, T &to);
/// What is copied in less time than the memory around it may have to be waited for, see convert.hpp.
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
struct is_borrowed<std::optional<T>> : is_borrowed<T> {};
template <class T, class A>
struct is_borrowed<std::vector<T, A>> : is_borrowed<T> {};

} // namespace detail

/// A value in a document: a small view, copied freely, never freed. Valid as long as the document; share() keeps
/// that. What is missing is a view of nothing, so that `v["size"][0]` needs no checks in between. Any thread.
class value {
public:
  class iterator;
  class item_iterator;
  class item_range;
  /// A key and a value of a map.
  struct item;

  /// A view of nothing.
  value() noexcept : view_{nullptr, 0} {}
  /// The C++ form of a C view.
  explicit value(wslink_value view) noexcept : view_(view) {}
  /// The C form.
  wslink_value c_value() const noexcept { return view_; }

  /// Whether there is a value (null is one).
  explicit operator bool() const noexcept { return view_.document != nullptr; }
  /// What it is.
  wslink::kind kind() const noexcept { return static_cast<wslink::kind>(wslink_value_kind(view_)); }
  /// Whether it is null. A view of nothing is not.
  bool is_null() const noexcept { return wslink_value_is_null(view_); }
  /// Whether it is an integer or a float.
  bool is_number() const noexcept {
    wslink::kind k = kind();
    return k == wslink::kind::integer || k == wslink::kind::uinteger || k == wslink::kind::floating;
  }
  /// Whether it is text.
  bool is_string() const noexcept { return kind() == wslink::kind::string; }
  /// Whether it is binary data.
  bool is_bytes() const noexcept { return kind() == wslink::kind::bytes; }
  /// Whether it is a list.
  bool is_array() const noexcept { return kind() == wslink::kind::array; }
  /// Whether it is a map.
  bool is_map() const noexcept { return kind() == wslink::kind::map; }
  /// How many elements, pairs or bytes it has; 0 for what has none.
  std::size_t size() const noexcept { return wslink_value_size(view_); }
  /// Whether size() is 0.
  bool empty() const noexcept { return size() == 0; }

  /// The value of a string key of a map; a view of nothing if it is no map or has no such key.
  value operator[](std::string_view key) const noexcept {
    wslink_value found; // not cleared: see convert.hpp
    return wslink_value_find(view_, detail::view_of(key), &found) ? value(found) : value();
  }
  /// As Python does: the element of a list, or the value of an integer key of a map; a view of nothing if there is
  /// none. Steps over what is before it: to visit all elements, iterate.
  value operator[](std::size_t index) const noexcept;

  /// The value as a T. Fails with code::not_found for a view of nothing, and with code::kind if it is not a T.
  ///
  /// T is bool, an integer (what does not fit fails), float or double (from any number), std::string,
  /// std::vector (numbers and texts are read many at a time), std::array, std::map or std::unordered_map with string
  /// keys, std::optional (nothing for null and a view of nothing), buffer (keeps binary data without a copy), or a view
  /// that lives as long as the document: std::string_view, bytes_view, ext_view, big_integer_view, value. More types by
  /// from_value.
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
  /// The value as a T, or nothing if it is not one.
  template <class T>
  std::optional<T> get_if() const {
    if constexpr (detail::is_small<T>)
      return copied<T>();
    else
      return made_in_place<T>();
  }
  /// The value as a T, or `otherwise` if it is not one.
  template <class T>
  T get_or(T otherwise) const {
    std::optional<T> out = get_if<T>();
    return out ? std::move(*out) : std::move(otherwise);
  }
  /// Copies a list of numbers to memory of the application, at most `capacity` of them, in one step. Returns how many
  /// were copied; nothing if it is no list of numbers that fit. T is double, float, std::int64_t, std::uint64_t,
  /// std::int32_t or std::uint8_t.
  template <class T>
  std::optional<std::size_t> copy_to(T *out, std::size_t capacity) const noexcept;

  /// Calls `take(std::string_view)` with each text of a list of strings, which is quicker than to iterate over the
  /// list. Returns whether this is a list and all its elements are strings: it stops at the first one that is not. An
  /// exception of `take` ends it too, and goes on to the caller. The texts live as long as the document.
  template <class F>
  bool each_string(F &&take) const;

  /// The elements of a list, or the values of a map (items() has the keys too).
  iterator begin() const noexcept;
  /// After the last.
  iterator end() const noexcept;
  /// The pairs of a map: `for (auto [key, value] : v.items())`. None for what is no map.
  item_range items() const noexcept;

  /// The document that holds the value, which keeps it valid. Empty for a view of nothing.
  document share() const noexcept;
  /// Writes the value as JSON text.
  json_text to_json(json_style style = json_style::plain, error *err = nullptr) const;

private:
  template <class T>
  std::optional<T> copied() const {
    T small{};
    return detail::convert(*this, small) ? std::optional<T>(small) : std::nullopt;
  }
  // A function of its own, so that compilers make it in its final place: it may be too large for the stack.
  template <class T>
  std::optional<T> made_in_place() const {
    std::optional<T> out(std::in_place);
    if (!detail::convert(*this, *out))
      out.reset();
    return out;
  }
  // By value, so that a view that is only read stays in registers.
  template <class T>
  static void fail_get(value from, error *err);

  wslink_value view_;
};

/// Goes through a list, or the values of a map.
class value::iterator {
public:
  using iterator_category = std::input_iterator_tag; ///< Each step is made once.
  using value_type = value;                          ///< Views.
  using difference_type = std::ptrdiff_t;            ///< As usual.
  using pointer = const value *;                     ///< As usual.
  using reference = value;                           ///< As usual for what is made on the way.

  /// The end.
  iterator() noexcept = default;
  /// At the first element.
  explicit iterator(wslink_iter rest) noexcept : rest_(rest) { ++*this; }
  /// The value here. Taken member by member, as C wrote it: both at once would have to wait for the memory.
  value operator*() const noexcept { return value(wslink_value{now_.view_.document, now_.view_.place}); }
  /// The value here.
  const value *operator->() const noexcept { return &now_; }
  /// The next one.
  iterator &operator++() noexcept {
    if (!wslink_iter_next(&rest_, nullptr, &now_.view_))
      now_ = value();
    return *this;
  }
  /// The next one.
  iterator operator++(int) noexcept {
    iterator before = *this;
    ++*this;
    return before;
  }
  /// Whether both are at the same value of one list.
  friend bool operator==(const iterator &a, const iterator &b) noexcept {
    return static_cast<bool>(a.now_) == static_cast<bool>(b.now_) && a.rest_.left == b.rest_.left;
  }
  /// The opposite.
  friend bool operator!=(const iterator &a, const iterator &b) noexcept { return !(a == b); }

private:
  wslink_iter rest_{{nullptr, 0}, 0, false};
  value now_;
};

/// A key and a value of a map.
struct value::item {
  wslink::value key;   ///< Mostly a string; in protocol 2 a key may be of any kind.
  wslink::value value; ///< What it stands for.
};

/// Goes through the pairs of a map.
class value::item_iterator {
public:
  using iterator_category = std::input_iterator_tag; ///< Each step is made once.
  using value_type = item;                           ///< A pair of views.
  using difference_type = std::ptrdiff_t;            ///< As usual.
  using pointer = const item *;                      ///< As usual.
  using reference = const item &;                    ///< Valid until the next step.

  /// The end.
  item_iterator() noexcept = default;
  /// At the first pair.
  explicit item_iterator(wslink_iter rest) noexcept : rest_(rest) { ++*this; }
  /// The pair here.
  const item &operator*() const noexcept { return now_; }
  /// The pair here.
  const item *operator->() const noexcept { return &now_; }
  /// The next one.
  item_iterator &operator++() noexcept {
    wslink_value key{nullptr, 0}, found{nullptr, 0};
    wslink_iter_next(&rest_, &key, &found);
    now_ = item{wslink::value(key), wslink::value(found)};
    return *this;
  }
  /// The next one.
  item_iterator operator++(int) noexcept {
    item_iterator before = *this;
    ++*this;
    return before;
  }
  /// Whether both are at the same pair of one map.
  friend bool operator==(const item_iterator &a, const item_iterator &b) noexcept {
    return static_cast<bool>(a.now_.value) == static_cast<bool>(b.now_.value) && a.rest_.left == b.rest_.left;
  }
  /// The opposite.
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
    value last; // of equal keys the last one counts, as in Python
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

/// JSON text made of a value, with its binary data beside it. Owns both.
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
  /// Gives the C object up.
  wslink_json *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C object, borrowed.
  const wslink_json *c_ptr() const noexcept { return handle_; }

  /// The text; lives as long as this.
  std::string_view text() const noexcept { return detail::view_of(wslink_json_text(handle_)); }
  /// How many attachments the text names.
  std::size_t attachment_count() const noexcept { return wslink_json_attachment_count(handle_); }
  /// The key of an attachment; empty if there is none with this index. Lives as long as this.
  std::string_view attachment_key(std::size_t index) const noexcept {
    wslink_str key{nullptr, 0};
    wslink_bytes data{nullptr, 0};
    wslink_json_attachment(handle_, index, &key, &data);
    return detail::view_of(key);
  }
  /// An attachment, not copied; empty if there is none with this index.
  buffer attachment(std::size_t index) const noexcept {
    return buffer::from_c(wslink_json_attachment_buffer(handle_, index));
  }

private:
  wslink_json *handle_ = nullptr;
};

inline json_text value::to_json(json_style style, error *err) const {
  detail::outlet out(err);
  wslink_json *made = nullptr;
  out.check(wslink_value_to_json(view_, static_cast<std::int32_t>(style), &made, out.c()));
  return json_text::from_c(made);
}

/// A message that arrived, with all its values: one of its owners. Immutable; any thread may read it.
///
/// Reads like the value that it brought, its result(). Views must not outlive it: write
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
  // C takes null as well, but those that were moved from are many, and there is nothing to call.
  ~document() {
    if (handle_)
      wslink_document_unref(handle_);
  }

  /// Takes over one ownership of a C document.
  static document from_c(const wslink_document *handle) noexcept {
    document taken;
    taken.handle_ = handle;
    return taken;
  }
  /// A further owner of a C document that is borrowed.
  static document share_c(const wslink_document *handle) noexcept { return from_c(wslink_document_ref(handle)); }
  /// Decodes a message that is at hand: one that was recorded, or any other JSON text or msgpack value. The bytes
  /// are copied: `document::decode({text.data(), text.size()}, encoding::json)`. On failure the exception, or `*err`
  /// and an empty document.
  static document decode(bytes_view message, encoding how, error *err = nullptr) {
    detail::outlet out(err);
    const wslink_document *decoded = nullptr;
    out.check(
        wslink_document_decode(message.data(), message.size(), static_cast<std::int32_t>(how), &decoded, out.c()));
    return from_c(decoded);
  }
  /// Gives the ownership up: wslink_document_unref() must be called with the result.
  const wslink_document *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C document, borrowed.
  const wslink_document *c_ptr() const noexcept { return handle_; }

  /// A further owner of the same message.
  document share() const noexcept { return share_c(handle_); }
  /// Whether there is a document.
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// The value that a reply or publication brought.
  value result() const noexcept { return value(wslink_document_result(handle_)); }
  /// The whole message as it came, a map with `id` and `result`.
  value root() const noexcept { return value(wslink_document_root(handle_)); }
  /// How many bytes the message had on the wire, attachments included.
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
  /// As result().get<T>(); a view would point into a document that is gone.
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
  /// After the last.
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
