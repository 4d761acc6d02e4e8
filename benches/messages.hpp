// The data of the workloads: blobs, and replies whose result is a list of floats, records or strings, encoded as the
// servers of both protocols do.
#ifndef WSLINK_BENCH_MESSAGES_HPP
#define WSLINK_BENCH_MESSAGES_HPP

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "meter.hpp"

namespace bench {

// A byte of a blob, by its position.
inline std::uint8_t pattern(std::size_t place) {
  place %= std::size_t(1) << 20;
  return std::uint8_t(place * 31 + place / 251);
}

inline std::vector<std::uint8_t> blob(std::size_t size) {
  std::vector<std::uint8_t> data(size);
  for (std::size_t i = 0; i < size; i++)
    data[i] = pattern(i);
  return data;
}

inline void check_blob(const std::uint8_t *data, std::size_t size, std::size_t wanted) {
  if (size != wanted || (size && (data[0] != pattern(0) || data[size - 1] != pattern(size - 1))))
    die("wrong blob");
}

// Whether strings are read one per call instead of many per call.
inline bool one_by_one() { return std::getenv("WSLINK_ONE_BY_ONE") != nullptr; }

// Full mantissas, like the data of simulations.
inline double float_at(size_t i) { return std::sin(double(i) * 0.001) * 1000.0 + 1e-7 * double(i % 97); }

inline std::string_view word_at(size_t i) {
  static const std::string_view words[8] = {"mesh",   "actor", "contour", "streamline",
                                            "volume", "glyph", "slice",   "outline"};
  return words[i & 7];
}

inline std::string string_at(size_t i) {
  std::string text;
  for (size_t k = 0; k < 1 + (i * 7) % 5; k++) {
    text += k ? " " : "";
    text += word_at(i + k * 3);
  }
  return text + "-" + std::to_string(i);
}

// Writes values as msgpack.
struct Msgpack {
  std::string out;

  void big_endian(uint64_t v, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
      out += char(v >> shift);
  }
  void head(int small, int limit, int wide, size_t n) {
    if (n < size_t(limit))
      return void(out += char(small | int(n)));
    out += char(n < 65536 ? wide : wide + 1);
    big_endian(n, n < 65536 ? 2 : 4);
  }
  void null() { out += char(0xc0); }
  void boolean(bool v) { out += char(v ? 0xc3 : 0xc2); }
  void uint(uint64_t v) {
    if (v < 128)
      return void(out += char(v));
    int power = v < 256 ? 0 : v < 65536 ? 1 : v < (uint64_t(1) << 32) ? 2 : 3;
    out += char(0xcc + power);
    big_endian(v, 1 << power);
  }
  void real(double v) {
    uint64_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    out += char(0xcb);
    big_endian(bits, 8);
  }
  void string(std::string_view v) {
    if (v.size() >= 32 && v.size() < 256) {
      out += char(0xd9);
      out += char(v.size());
    } else {
      head(0xa0, 32, 0xda, v.size());
    }
    out += v;
  }
  void begin_array(size_t n) { head(0x90, 16, 0xdc, n); }
  void end_array() {}
  void begin_map(size_t n) { head(0x80, 16, 0xde, n); }
  void end_map() {}
};

// Writes values as JSON, in Python's format.
struct Json {
  std::string out;

  // The separator before a value or key.
  void next() {
    char last = out.empty() ? '[' : out.back();
    if (last != '[' && last != '{' && last != ' ')
      out += ", ";
  }
  void key_follows(std::string_view key) {
    string(key);
    out += ": ";
  }
  void null() { next(), out += "null"; }
  void boolean(bool v) { next(), out += v ? "true" : "false"; }
  void uint(uint64_t v) { next(), out += std::to_string(v); }
  void real(double v) {
    char text[32];
    next();
    std::string_view written(text, size_t(std::to_chars(text, text + sizeof text, v).ptr - text));
    out += written;
    if (written.find_first_of(".e") == std::string_view::npos)
      out += ".0";
  }
  void string(std::string_view v) { // none of the benchmark's strings needs an escape
    next();
    out += '"';
    out += v;
    out += '"';
  }
  void begin_array(size_t) { next(), out += '['; }
  void end_array() { out += ']'; }
  void begin_map(size_t) { next(), out += '{'; }
  void end_map() { out += '}'; }
};

inline void put_key(Msgpack &to, std::string_view key) { to.string(key); }
inline void put_key(Json &to, std::string_view key) { to.key_follows(key); }

template <class Writer>
void put_record(Writer &to, size_t i) {
  to.begin_map(8);
  put_key(to, "id"), to.uint(i);
  put_key(to, "name"), to.string(string_at(i));
  put_key(to, "visible"), to.boolean(i % 3 != 0);
  put_key(to, "opacity"), to.real(double(i % 100) / 100.0);
  put_key(to, "position"), to.begin_array(3);
  for (size_t k = 0; k < 3; k++)
    to.real(float_at(i + k * 1000));
  to.end_array();
  put_key(to, "parent");
  if (i % 10)
    to.uint(i / 10);
  else
    to.null();
  put_key(to, "mtime"), to.uint(1732284000000 + i);
  put_key(to, "kind"), to.string(word_at(i));
  to.end_map();
}

// The reply to a call, with `count` floats, records or strings.
template <class Writer>
std::string message(std::string_view kind, size_t count) {
  Writer to;
  to.begin_map(3);
  put_key(to, "wslink"), to.string("1.0");
  put_key(to, "id"), to.string("rpc:c0:1");
  put_key(to, "result"), to.begin_array(count);
  for (size_t i = 0; i < count; i++) {
    if (kind == "floats")
      to.real(float_at(i));
    else if (kind == "strings")
      to.string(string_at(i));
    else
      put_record(to, i);
  }
  to.end_array();
  to.end_map();
  return to.out;
}

} // namespace bench

#endif
