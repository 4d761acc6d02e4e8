/// @file
/// Binary data: a view, and an owner that keeps it where it arrived.

#ifndef WSLINK_BUFFER_HPP
#define WSLINK_BUFFER_HPP

#include <cstddef>
#include <vector>

#include "error.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// A borrowed view of bytes, as std::span<const std::uint8_t> is in C++20 (to which it converts). Valid as long as
/// what owns them.
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

  /// The first byte; may be null if there are none.
  constexpr const std::uint8_t *data() const noexcept { return data_; }
  /// How many bytes.
  constexpr std::size_t size() const noexcept { return size_; }
  /// Whether there are none.
  constexpr bool empty() const noexcept { return size_ == 0; }
  /// The first byte.
  constexpr const std::uint8_t *begin() const noexcept { return data_; }
  /// After the last byte.
  constexpr const std::uint8_t *end() const noexcept { return size_ ? data_ + size_ : data_; }
  /// One byte; `index` must be less than size().
  constexpr std::uint8_t operator[](std::size_t index) const noexcept { return data_[index]; }
  /// `count` bytes from `offset` on, or as many as there are.
  constexpr bytes_view sub(std::size_t offset, std::size_t count = static_cast<std::size_t>(-1)) const noexcept {
    bytes_view part;
    if (offset < size_) {
      part.data_ = data_ + offset;
      part.size_ = size_ - offset < count ? size_ - offset : count;
    }
    return part;
  }
  /// The bytes as text (borrowed, not checked to be UTF-8).
  std::string_view as_text() const noexcept {
    return size_ ? std::string_view(reinterpret_cast<const char *>(data_), size_) : std::string_view();
  }
  /// A copy.
  std::vector<std::uint8_t> to_vector() const { return std::vector<std::uint8_t>(begin(), end()); }

private:
  const std::uint8_t *data_ = nullptr;
  std::size_t size_ = 0;
};

/// Received binary data, kept where it arrived: one of its owners. Nothing is copied. Any thread may read it, share
/// it and let it go.
///
/// For a QImage or a VTK array: `uchar* data = b.data()`, and as clean-up function
/// `[](void* b) { wslink_buffer_unref(static_cast<const wslink_buffer*>(b)); }` with `b.release()`.
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

  /// Takes over one ownership of a C buffer.
  static buffer from_c(const wslink_buffer *handle) noexcept {
    buffer taken;
    taken.handle_ = handle;
    return taken;
  }
  /// Gives the ownership up: wslink_buffer_unref() must be called with the result.
  const wslink_buffer *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C buffer, borrowed.
  const wslink_buffer *c_ptr() const noexcept { return handle_; }

  /// A further owner of the same memory.
  buffer share() const noexcept { return from_c(wslink_buffer_ref(handle_)); }
  /// Whether there is a buffer (it may have no bytes).
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// The first byte. Valid as long as there is an owner.
  const std::uint8_t *data() const noexcept { return wslink_buffer_data(handle_); }
  /// How many bytes.
  std::size_t size() const noexcept { return wslink_buffer_size(handle_); }
  /// Whether there are none.
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

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_BUFFER_HPP
