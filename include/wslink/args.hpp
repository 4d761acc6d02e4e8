/// @file
/// The arguments of calls: C++ types, by value or by reference.

#ifndef WSLINK_ARGS_HPP
#define WSLINK_ARGS_HPP

#include <chrono>
#include <initializer_list>
#include <tuple>

#include "callback.hpp"
#include "value.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

class args;

/// Specialise this to use a type of the application as an argument, with
/// `static void add(args& to, const T& from)` that adds one value.
template <class T, class Enable = void>
struct to_args;

/// Binary data that is sent without a copy. Made by by_reference(). It can be used once as an argument: with
/// a second use the call fails. Its destructor releases the memory if it was not used.
class [[nodiscard]] lent_bytes {
public:
  /// Memory that `release(user)` releases.
  lent_bytes(const void *data, std::size_t size, wslink_drop_fn release, void *user) noexcept
      : data_(data), size_(size), release_(release), user_(user) {}
  /// Leaves `other` empty.
  lent_bytes(lent_bytes &&other) noexcept
      : data_(other.data_), size_(other.size_), release_(std::exchange(other.release_, nullptr)),
        used_(std::exchange(other.used_, true)), user_(other.user_) {}
  lent_bytes &operator=(lent_bytes &&) = delete;
  ~lent_bytes() {
    if (release_)
      release_(user_);
  }

private:
  friend class args;
  const void *data_;
  std::size_t size_;
  // mutable, because arguments are passed by const reference
  mutable wslink_drop_fn release_;
  mutable bool used_ = false;
  void *user_;
};

/// Passes memory by reference: it must stay valid and unchanged until the library calls `release()`. It does so exactly
/// once, on any thread, when it does not need the memory any more. `release` must not wait for the session.
template <class Release>
lent_bytes by_reference(const void *data, std::size_t size, Release release) {
  using call = detail::callable<Release>;
  return lent_bytes(data, size, call::release, new Release(std::move(release)));
}
/// Passes a container of bytes or numbers, such as std::vector<std::uint8_t>, by moving it. Its elements are sent as
/// binary data without a copy, and the container is destroyed when the library does not need it any more.
template <class Container, class = std::enable_if_t<!std::is_lvalue_reference_v<Container>>>
lent_bytes by_reference(Container &&data) {
  static_assert(std::is_trivially_copyable_v<typename std::decay_t<Container>::value_type>,
                "only bytes and numbers can be sent as they lie in memory");
  using owner = std::decay_t<Container>;
  auto *kept = new owner(std::move(data));
  const std::size_t size = kept->size() * sizeof(typename owner::value_type);
  return lent_bytes(kept->data(), size, detail::destroy<owner>, kept);
}
/// Passes memory by reference that outlives the session and needs no release, such as constants.
inline lent_bytes by_reference_for_ever(const void *data, std::size_t size) noexcept {
  return lent_bytes(data, size, nullptr, nullptr);
}

/// JSON text as one argument. `NaN` and `Infinity` are accepted, and keys of attachments stand for their data.
struct json {
  std::string_view text; ///< The text; copied.
  /// Borrows the text within the expression.
  explicit json(std::string_view t) noexcept : text(t) {}
};

/// A msgpack extension as an argument (protocol 2 only; with protocol 1 the call fails).
struct ext {
  std::int8_t type; ///< From -128 to 127.
  bytes_view data;  ///< The data; copied.
  /// Borrows the data within the expression.
  ext(std::int8_t t, bytes_view d) noexcept : type(t), data(d) {}
};

/// No timeout for a call of a session with config::call_timeout: `wslink::timeout(wslink::no_timeout)`.
inline constexpr std::chrono::milliseconds no_timeout = (std::chrono::milliseconds::max)();

/// The timeout of a call, passed among its arguments: `session.call("m", 1, wslink::timeout(std::chrono::seconds(5)))`.
/// Default: config::call_timeout. If it is zero or negative, the call times out at once.
struct timeout {
  std::uint32_t ms; ///< At least 1.
  /// Rounded up to milliseconds.
  template <class Rep, class Period>
  explicit timeout(std::chrono::duration<Rep, Period> after) noexcept : ms(detail::to_ms(after)) {}
};

/// One argument or one option of a call. Contains a reference, so it is only for use within one expression.
///
/// Arguments are: nullptr and std::nullopt (null), bool, integers, float and double, text (std::string,
/// std::string_view, const char*), received values and documents, contiguous containers and arrays of numbers (lists,
/// added in bulk) and of bytes (std::uint8_t, std::byte; binary data, copied), other containers (lists), std::map and
/// std::unordered_map with string keys, std::optional, std::pair and std::tuple (lists), nested braces (lists),
/// list(), map(), kw(), by_reference(), json, ext, and types of the application by to_args. Options are timeout and
/// `error*`.
class item {
public:
  /// Any argument of the above.
  template <class T>
  item(const T &from) noexcept : object_(&from), add_(&add_object<T>) {} // NOLINT: implicit on purpose
  /// A list: `{1, 2.5, {"nested"}}`.
  item(std::initializer_list<item> list) noexcept; // NOLINT: implicit on purpose
  /// The option `error*`: receives the failure of the call instead of an exception.
  item(error *err) noexcept : object_(err), what_(what::failure) {} // NOLINT: implicit on purpose
  /// The option timeout.
  item(const timeout &after) noexcept : size_(after.ms), what_(what::timeout) {} // NOLINT: implicit on purpose
  /// No argument.
  static constexpr item none() noexcept { return item(what::nothing); }

private:
  friend class args;
  friend class request;
  enum class what : std::uint8_t { value, list, failure, timeout, nothing };

  constexpr explicit item(what w) noexcept : what_(w) {}
  template <class T>
  static void add_object(args &to, const void *object);

  const void *object_ = nullptr;
  void (*add_)(args &to, const void *object) = nullptr;
  std::size_t size_ = 0;
  what what_ = what::value;
};

/// A pair of a map() or a keyword argument.
struct entry {
  std::string_view key; ///< The name.
  item value;           ///< Any argument.
  /// Borrows both within the expression.
  entry(std::string_view k, item v) noexcept : key(k), value(v) {}
};

namespace detail {

inline constexpr std::size_t most_items = 12;
/// The default of all parameters for arguments, so that no call has to construct them.
inline constexpr item no_item = item::none();

struct list_of {
  std::array<item, most_items> items;
};
struct map_of {
  const entry *first;
  std::size_t count;
};
template <std::size_t N>
struct small_map {
  std::array<entry, N> entries;
};
struct keyword {
  entry pair;
};

} // namespace detail

/// The arguments of one call, added step by step. (session::call() and request also take items directly, which
/// is shorter.) Positional arguments in order, keyword arguments by kw(). A call takes the content and leaves
/// this empty, to be filled again. One thread at a time.
///
/// The first failure (invalid UTF-8 or JSON, a container that was not ended) is stored. Arguments that are added after
/// it are ignored, and the call fails with it: so only the call needs to be checked.
class args {
public:
  /// No arguments.
  args() : handle_(wslink_args_new()) {
    if (!handle_)
      failure_ = error(code::system, "no memory for the arguments");
  }
  /// Leaves `other` without a handle: it can only be assigned to or destroyed.
  args(args &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)), failure_(std::move(other.failure_)) {}
  /// Leaves `other` without a handle.
  args &operator=(args &&other) noexcept {
    args moved(std::move(other));
    std::swap(handle_, moved.handle_);
    std::swap(failure_, moved.failure_);
    return *this;
  }
  args(const args &) = delete;
  args &operator=(const args &) = delete;
  ~args() { wslink_args_free(handle_); }

  /// Takes ownership of C arguments.
  static args from_c(wslink_args *handle) noexcept { return args(handle); }
  /// Passes ownership of the C arguments to the caller.
  wslink_args *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C arguments, borrowed.
  wslink_args *c_ptr() const noexcept { return handle_; }

  /// Adds one argument, or one value of the innermost list or map that was begun.
  args &add(const item &one) {
    switch (one.what_) {
    case item::what::value:
      one.add_(*this, one.object_);
      break;
    case item::what::list: {
      begin_list();
      const item *elements = static_cast<const item *>(one.object_);
      for (std::size_t i = 0; i < one.size_; ++i)
        add(elements[i]);
      end();
      break;
    }
    case item::what::failure:
    case item::what::timeout:
      keep(error(code::argument, "an option (timeout, error*) is not a value: it belongs to the call"));
      break;
    case item::what::nothing:
      break;
    }
    return *this;
  }
  /// Begins a list. Values are added to it until end().
  args &begin_list() {
    return step([](auto *a, auto **e) { return wslink_args_begin_array(a, e); });
  }
  /// Begins a map. Keys and values are added to it in turn, by key() and add(), until end().
  args &begin_map() {
    return step([](auto *a, auto **e) { return wslink_args_begin_map(a, e); });
  }
  /// Adds the key of the next value of a map.
  args &key(std::string_view name) {
    return step([&](auto *a, auto **e) { return wslink_args_key(a, detail::view_of(name), e); });
  }
  /// Ends the innermost list or map.
  args &end() {
    return step([](auto *a, auto **e) { return wslink_args_end(a, e); });
  }
  /// Makes the next value that is added the keyword argument `name`.
  args &keyword(std::string_view name) {
    return step([&](auto *a, auto **e) { return wslink_args_keyword(a, detail::view_of(name), e); });
  }
  /// Adds binary data and returns its key. In JSON text that is added afterwards, each string that equals the key
  /// stands for the data, as in every wslink client. Empty after a failure.
  std::string attach(const lent_bytes &data) {
    char name[WSLINK_ATTACHMENT_KEY_SIZE] = "";
    step_with(data, [&](auto *a, wslink_drop_fn release_fn, auto **e) {
      return wslink_args_attach(a, data.data_, data.size_, release_fn, data.user_, name, e);
    });
    return name;
  }
  /// Adds positional arguments from the text of a JSON array, such as `[1, "two"]`.
  args &add_json_array(std::string_view text) {
    return step([&](auto *a, auto **e) { return wslink_args_add_json_array(a, detail::view_of(text), e); });
  }
  /// Adds keyword arguments from the text of a JSON object, such as `{"size": 3}`.
  args &add_json_keywords(std::string_view text) {
    return step([&](auto *a, auto **e) { return wslink_args_add_json_keywords(a, detail::view_of(text), e); });
  }
  /// Removes all arguments and the failure.
  args &clear() noexcept {
    wslink_args_clear(handle_);
    failure_.clear();
    return *this;
  }
  /// The first failure since the last clear() or call, if any.
  const error &failure() const noexcept { return failure_; }
  /// Makes the call fail with `why`, unless there is an earlier failure. For a to_args that cannot add its value.
  args &fail(error why) {
    keep(std::move(why));
    return *this;
  }

private:
  friend class item;
  friend class request;
  explicit args(wslink_args *handle) noexcept : handle_(handle) {}

  void keep(error &&why) {
    if (!failure_)
      failure_ = std::move(why);
  }
  template <class Step>
  args &step(Step do_it) {
    if (failure_)
      return *this;
    wslink_error *raw = nullptr;
    if (do_it(handle_, &raw) < 0)
      keep(error::from_c(raw));
    return *this;
  }
  /// A step that takes ownership of memory that was passed by reference, and may release it.
  template <class Step>
  void step_with(const lent_bytes &data, Step do_it) {
    if (data.used_)
      return keep(error(code::argument, "lent memory can be sent once: lend it again by by_reference()"));
    step([&](auto *a, auto **e) {
      data.used_ = true;
      return do_it(a, std::exchange(data.release_, nullptr), e);
    });
  }
  template <class T>
  void add_value(const T &from);
  template <class T>
  void add_contiguous(const T *first, std::size_t count);
  template <class T>
  void add_range(const T &from);

  wslink_args *handle_;
  error failure_;
};

inline item::item(std::initializer_list<item> list) noexcept
    : object_(list.size() ? &*list.begin() : nullptr), size_(list.size()), what_(what::list) {}

template <class T>
void item::add_object(args &to, const void *object) {
  to.add_value(*static_cast<const T *>(object));
}

/// A list of up to 12 arguments of any types, for use within one expression. Braces do the same without the limit.
inline detail::list_of list(const item &a = item::none(), const item &b = item::none(), const item &c = item::none(),
                            const item &d = item::none(), const item &e = item::none(), const item &f = item::none(),
                            const item &g = item::none(), const item &h = item::none(), const item &i = item::none(),
                            const item &j = item::none(), const item &k = item::none(),
                            const item &l = item::none()) noexcept {
  return {{{a, b, c, d, e, f, g, h, i, j, k, l}}};
}

/// A map, for use within one expression: `map({"name", "x"}, {"size", {1, 2}})`.
inline detail::small_map<1> map(const entry &a) noexcept { return {{{a}}}; }
/// A map of two pairs.
inline detail::small_map<2> map(const entry &a, const entry &b) noexcept { return {{{a, b}}}; }
/// A map of three pairs.
inline detail::small_map<3> map(const entry &a, const entry &b, const entry &c) noexcept { return {{{a, b, c}}}; }
/// A map of four pairs.
inline detail::small_map<4> map(const entry &a, const entry &b, const entry &c, const entry &d) noexcept {
  return {{{a, b, c, d}}};
}
/// A map of any number of pairs: `map({{"name", "x"}, {"size", 3}, ...})`. `map({})` is the empty map.
inline detail::map_of map(std::initializer_list<entry> pairs) noexcept {
  return {pairs.size() ? &*pairs.begin() : nullptr, pairs.size()};
}

/// A keyword argument, for use within one expression: `session.call("m", 1, kw("size", 3))`.
inline detail::keyword kw(std::string_view name, const item &value) noexcept { return {entry(name, value)}; }

namespace detail {

template <class T, class = void>
struct has_to_args : std::false_type {};
template <class T>
struct has_to_args<T, std::void_t<decltype(to_args<T>::add(std::declval<args &>(), std::declval<const T &>()))>>
    : std::true_type {};

template <class Element>
inline constexpr bool is_plain = std::is_arithmetic_v<Element> || std::is_same_v<Element, std::byte>;
template <class T>
using element_of = std::remove_cv_t<std::remove_pointer_t<decltype(std::declval<const T &>().data())>>;
template <class T, class = void>
struct has_plain_data : std::false_type {};
template <class T>
struct has_plain_data<T, std::void_t<element_of<T>, decltype(std::declval<const T &>().size())>>
    : std::bool_constant<is_plain<element_of<T>>> {};
// std::vector<bool> is excluded first, because its data() is ill-formed in some standard libraries.
template <class T>
struct is_contiguous : std::conditional_t<std::is_same_v<T, std::vector<bool>>, std::false_type, has_plain_data<T>> {};

template <class T, class = void>
struct is_range : std::false_type {};
template <class T>
struct is_range<
    T, std::void_t<decltype(std::begin(std::declval<const T &>())), decltype(std::end(std::declval<const T &>()))>>
    : std::true_type {};

template <class T, class = void>
struct is_tuple : std::false_type {};
template <class T>
struct is_tuple<T, std::void_t<decltype(std::tuple_size<T>::value)>> : std::true_type {};

} // namespace detail

/// Adds contiguous numbers or bytes in bulk. Types without a C function are widened first.
template <class T>
void args::add_contiguous(const T *first, std::size_t count) {
  static_assert(!detail::is_one_of<T, char, wchar_t, char16_t, char32_t>,
                "characters are neither numbers nor text: use std::string_view or std::uint8_t");
  if constexpr (detail::is_one_of<T, std::uint8_t, std::byte>) {
    step([&](auto *a, auto **e) { return wslink_args_add_bytes(a, first, count, e); });
  } else if constexpr (std::is_same_v<T, double>) {
    step([&](auto *a, auto **e) { return wslink_args_add_doubles(a, first, count, e); });
  } else if constexpr (std::is_same_v<T, float>) {
    step([&](auto *a, auto **e) { return wslink_args_add_floats(a, first, count, e); });
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    step([&](auto *a, auto **e) { return wslink_args_add_int64s(a, first, count, e); });
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    step([&](auto *a, auto **e) { return wslink_args_add_uint64s(a, first, count, e); });
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    step([&](auto *a, auto **e) { return wslink_args_add_int32s(a, first, count, e); });
  } else if constexpr (std::is_floating_point_v<T>) {
    add_contiguous(std::vector<double>(first, first + count).data(), count);
  } else if constexpr (std::is_same_v<T, bool>) {
    begin_list();
    for (std::size_t i = 0; i < count; ++i)
      add_value(first[i]);
    end();
  } else if constexpr (std::is_unsigned_v<T> && sizeof(T) >= sizeof(std::uint64_t)) {
    add_contiguous(std::vector<std::uint64_t>(first, first + count).data(), count);
  } else {
    add_contiguous(std::vector<std::int64_t>(first, first + count).data(), count);
  }
}

template <class T>
void args::add_range(const T &from) {
  begin_list();
  for (const auto &element : from) {
    if constexpr (std::is_same_v<T, std::vector<bool>>) {
      add_value<bool>(element); // its elements may be proxy objects
    } else {
      add_value<std::decay_t<decltype(element)>>(element);
    }
  }
  end();
}

template <class T>
void args::add_value(const T &from) {
  using detail::is_one_of;
  if constexpr (detail::has_to_args<T>::value) {
    to_args<T>::add(*this, from);
  } else if constexpr (std::is_same_v<T, item>) {
    add(from);
  } else if constexpr (is_one_of<T, std::nullptr_t, std::nullopt_t>) {
    step([](auto *a, auto **e) { return wslink_args_add_null(a, e); });
  } else if constexpr (std::is_same_v<T, bool>) {
    step([&](auto *a, auto **e) { return wslink_args_add_bool(a, from, e); });
  } else if constexpr (std::is_integral_v<T>) {
    static_assert(!is_one_of<T, char, wchar_t, char16_t, char32_t>,
                  "a character is neither a number nor text: cast it to int, or give a string");
    if constexpr (std::is_signed_v<T>) {
      step([&](auto *a, auto **e) { return wslink_args_add_int(a, from, e); });
    } else {
      step([&](auto *a, auto **e) { return wslink_args_add_uint(a, from, e); });
    }
  } else if constexpr (std::is_floating_point_v<T>) {
    step([&](auto *a, auto **e) { return wslink_args_add_double(a, static_cast<double>(from), e); });
  } else if constexpr (std::is_convertible_v<const T &, std::string_view>) {
    std::string_view text;
    if constexpr (std::is_pointer_v<T>) {
      if (from)
        text = from;
    } else {
      text = from;
    }
    step([&](auto *a, auto **e) { return wslink_args_add_string(a, detail::view_of(text), e); });
  } else if constexpr (std::is_same_v<T, value>) {
    step([&](auto *a, auto **e) { return wslink_args_add_value(a, from.c_value(), e); });
  } else if constexpr (std::is_same_v<T, document>) {
    add_value(from.result());
  } else if constexpr (std::is_same_v<T, buffer>) {
    const buffer &kept = from;
    const wslink_buffer *owner = kept.share().release();
    step([&](auto *a, auto **e) {
      void *user = const_cast<wslink_buffer *>(std::exchange(owner, nullptr));
      return wslink_args_add_buffer(a, kept.data(), kept.size(), detail::unref_buffer, user, e);
    });
    wslink_buffer_unref(owner);
  } else if constexpr (std::is_same_v<T, lent_bytes>) {
    step_with(from, [&](auto *a, wslink_drop_fn release_fn, auto **e) {
      return wslink_args_add_buffer(a, from.data_, from.size_, release_fn, from.user_, e);
    });
  } else if constexpr (std::is_same_v<T, json>) {
    step([&](auto *a, auto **e) { return wslink_args_add_json(a, detail::view_of(from.text), e); });
  } else if constexpr (std::is_same_v<T, ext>) {
    step([&](auto *a, auto **e) { return wslink_args_add_ext(a, from.type, from.data.data(), from.data.size(), e); });
  } else if constexpr (std::is_same_v<T, detail::keyword>) {
    keyword(from.pair.key).add(from.pair.value);
  } else if constexpr (std::is_same_v<T, detail::list_of>) {
    add_range(from.items);
  } else if constexpr (std::is_same_v<T, detail::map_of>) {
    begin_map();
    for (std::size_t i = 0; i < from.count; ++i)
      key(from.first[i].key).add(from.first[i].value);
    end();
  } else if constexpr (is_one_of<T, detail::small_map<1>, detail::small_map<2>, detail::small_map<3>,
                                 detail::small_map<4>>) {
    begin_map();
    for (const entry &pair : from.entries)
      key(pair.key).add(pair.value);
    end();
  } else if constexpr (detail::is_string_map<T>::value) {
    begin_map();
    for (const auto &pair : from)
      key(pair.first).add_value(pair.second);
    end();
  } else if constexpr (detail::is_optional<T>::value) {
    from ? add_value(*from) : add_value(nullptr);
  } else if constexpr (std::is_array_v<T> && detail::is_plain<std::remove_cv_t<std::remove_extent_t<T>>>) {
    add_contiguous(&from[0], std::extent_v<T>);
  } else if constexpr (detail::is_contiguous<T>::value) {
    add_contiguous(from.data(), from.size());
  } else if constexpr (detail::is_range<T>::value) {
    add_range(from);
  } else if constexpr (detail::is_tuple<T>::value) {
    begin_list();
    std::apply([this](const auto &...each) { (this->add_value(each), ...); }, from);
    end();
  } else {
    static_assert(detail::always_false<T>, "this type cannot be an argument: specialise wslink::to_args");
  }
}

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_ARGS_HPP
