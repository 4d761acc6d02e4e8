/// @file
/// Binary data: views, and an owner of received data.

#ifndef WSLINK_BUFFER_HPP
#define WSLINK_BUFFER_HPP

#include <cstddef>
#include <type_traits>
#include <vector>

#include "error.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// A borrowed view of bytes, like std::span<const std::uint8_t> of C++20, to which it converts. Valid as long as the
/// owner of the bytes.
class bytes_view {
public:
  using value_type = std::uint8_t;             ///< As in containers.
  using const_iterator = const std::uint8_t *; ///< As in containers.
  using iterator = const_iterator;             ///< As in containers.

  /// No bytes.
  constexpr bytes_view() noexcept = default;
  /// `size` bytes at `data`.
  bytes_view(const void *data, std::size_t size) noexcept
      : data_(static_cast<const std::uint8_t *>(data)), size_(size) {}

  /// The first byte; may be null if size() is 0.
  constexpr const std::uint8_t *data() const noexcept { return data_; }
  /// The number of bytes.
  constexpr std::size_t size() const noexcept { return size_; }
  /// Whether size() is 0.
  constexpr bool empty() const noexcept { return size_ == 0; }
  /// The first byte.
  constexpr const std::uint8_t *begin() const noexcept { return data_; }
  /// After the last byte.
  constexpr const std::uint8_t *end() const noexcept { return size_ ? data_ + size_ : data_; }
  /// One byte; `index` must be less than size().
  constexpr std::uint8_t operator[](std::size_t index) const noexcept { return data_[index]; }
  /// At most `count` bytes from `offset` on.
  constexpr bytes_view sub(std::size_t offset, std::size_t count = static_cast<std::size_t>(-1)) const noexcept {
    bytes_view part;
    if (offset < size_) {
      part.data_ = data_ + offset;
      part.size_ = size_ - offset < count ? size_ - offset : count;
    }
    return part;
  }
  /// The bytes as text: borrowed, and not checked for UTF-8.
  std::string_view as_text() const noexcept {
    return size_ ? std::string_view(reinterpret_cast<const char *>(data_), size_) : std::string_view();
  }
  /// A copy.
  std::vector<std::uint8_t> to_vector() const { return std::vector<std::uint8_t>(begin(), end()); }

private:
  const std::uint8_t *data_ = nullptr;
  std::size_t size_ = 0;
};

/// A reference to received binary data, without a copy. Any thread may read it, share it and destroy its reference.
///
/// For a QImage or a VTK array: `const_cast<uchar*>(b.data())`, and as clean-up function `[](void* p) {
/// wslink_buffer_unref(static_cast<const wslink_buffer*>(p)); }` with `const_cast<wslink_buffer*>(b.release())`.
class buffer {
public:
  using value_type = std::uint8_t; ///< As in containers.

  /// No buffer.
  buffer() noexcept = default;
  /// Leaves `other` empty.
  buffer(buffer &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  buffer &operator=(buffer &&other) noexcept {
    buffer moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  buffer(const buffer &) = delete;
  buffer &operator=(const buffer &) = delete;
  ~buffer() { wslink_buffer_unref(handle_); }

  /// Takes ownership of a reference to a C buffer.
  static buffer from_c(const wslink_buffer *handle) noexcept {
    buffer taken;
    taken.handle_ = handle;
    return taken;
  }
  /// Passes the reference to the caller, who must call wslink_buffer_unref().
  const wslink_buffer *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C buffer, borrowed.
  const wslink_buffer *c_ptr() const noexcept { return handle_; }

  /// A further reference to the same data.
  buffer share() const noexcept { return from_c(wslink_buffer_ref(handle_)); }
  /// Whether there is a buffer (its size may be 0).
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// The first byte. Valid as long as there is a reference.
  const std::uint8_t *data() const noexcept { return wslink_buffer_data(handle_); }
  /// The number of bytes.
  std::size_t size() const noexcept { return wslink_buffer_size(handle_); }
  /// Whether size() is 0.
  bool empty() const noexcept { return size() == 0; }
  /// The first byte.
  const std::uint8_t *begin() const noexcept { return data(); }
  /// After the last byte.
  const std::uint8_t *end() const noexcept { return view().end(); }
  /// The bytes, borrowed.
  bytes_view view() const noexcept { return bytes_view(data(), size()); }
  /// The bytes, borrowed.
  operator bytes_view() const noexcept { return view(); }

private:
  const wslink_buffer *handle_ = nullptr;
};

/// A view of binary data as an array of little-endian numbers, as VTK and vtk.js send them.
/// `T` is an integer of 8 to 64 bits, float or double.
///
/// Received data begins at any address, so that a cast of `data()` to `const T*` is undefined behaviour. If the data is
/// aligned for `T`, this is a view of the data, valid as long as the data; otherwise it owns a copy.
/// This may differ from message to message, so do not use an array_view longer than the data.
///
/// Made by `value.get<array_view<float>>()`, or by `array_view<float>(buffer)` for data that is kept.
template <class T>
class array_view {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && sizeof(T) <= 8, "a view of numbers");

public:
  using value_type = T;             ///< As in containers.
  using const_iterator = const T *; ///< As in containers.
  using iterator = const_iterator;  ///< As in containers.

  /// No numbers.
  array_view() noexcept = default;
  /// The bytes as numbers. Fails with code::kind if their size is not a multiple of that of a number.
  explicit array_view(bytes_view bytes, error *err = nullptr) {
    detail::outlet out(err);
    const void *array = nullptr;
    const wslink_buffer *copy = nullptr;
    if (!out.succeeded(wslink_bytes_as_array({bytes.data(), bytes.size()}, type(), &array, &size_, &copy, out.c())))
      return;
    copy_ = buffer::from_c(copy);
    data_ = static_cast<const T *>(array);
  }
  /// Leaves `other` empty.
  array_view(array_view &&other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)),
        copy_(std::move(other.copy_)) {}
  /// A view of the same numbers. If `other` owns a copy of the data, both share it.
  array_view(const array_view &other) noexcept : data_(other.data_), size_(other.size_), copy_(other.copy_.share()) {}
  /// As the constructors.
  array_view &operator=(array_view other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(copy_, other.copy_);
    return *this;
  }
  ~array_view() = default;

  /// The first number, aligned for its type.
  const T *data() const noexcept { return data_; }
  /// The number of elements.
  std::size_t size() const noexcept { return size_; }
  /// Whether size() is 0.
  bool empty() const noexcept { return size_ == 0; }
  /// The first number.
  const T *begin() const noexcept { return data_; }
  /// After the last number.
  const T *end() const noexcept { return size_ ? data_ + size_ : data_; }
  /// One number; `index` must be less than size().
  const T &operator[](std::size_t index) const noexcept { return data_[index]; }
  /// Whether this owns a copy, because the data is not aligned.
  bool is_copy() const noexcept { return static_cast<bool>(copy_); }

private:
  static constexpr std::int32_t type() noexcept {
    if constexpr (std::is_floating_point_v<T>) {
      return sizeof(T) == 4 ? WSLINK_TYPE_FLOAT32 : WSLINK_TYPE_FLOAT64;
    } else if constexpr (std::is_signed_v<T>) {
      return sizeof(T) == 1   ? WSLINK_TYPE_INT8
             : sizeof(T) == 2 ? WSLINK_TYPE_INT16
             : sizeof(T) == 4 ? WSLINK_TYPE_INT32
                              : WSLINK_TYPE_INT64;
    } else {
      return sizeof(T) == 1   ? WSLINK_TYPE_UINT8
             : sizeof(T) == 2 ? WSLINK_TYPE_UINT16
             : sizeof(T) == 4 ? WSLINK_TYPE_UINT32
                              : WSLINK_TYPE_UINT64;
    }
  }

  const T *data_ = nullptr;
  std::size_t size_ = 0;
  buffer copy_;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_BUFFER_HPP
