// Shared by all C++ tests: checks that count failures, a test runner, the real servers.

#ifndef WSLINK_TESTS_CHECK_HPP
#define WSLINK_TESTS_CHECK_HPP

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <wslink.hpp>

// A failed check is printed and counted; the test goes on. Any thread may use it.
#define CHECK(...) check::that((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)
// Checks for equality, and prints both sides.
#define CHECK_EQ(actual, expected) check::equal((actual), (expected), #actual " == " #expected, __FILE__, __LINE__)
// For preconditions of the rest of a test: prints and ends the program.
#define MUST(...) check::must((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)
// The statement, which may use `err`, fails with this code and a message.
#define FAILS(code_name, ...)                                                                                          \
  do {                                                                                                                 \
    wslink::error err;                                                                                                 \
    __VA_ARGS__;                                                                                                       \
    check::failure(err, wslink::code::code_name, #__VA_ARGS__, __FILE__, __LINE__);                                    \
  } while (0)
// The expression throws wslink::exception with this code.
#define THROWS(code_name, ...)                                                                                         \
  do {                                                                                                                 \
    wslink::error err;                                                                                                 \
    try {                                                                                                              \
      (void)(__VA_ARGS__);                                                                                             \
    } catch (const wslink::exception &e) {                                                                             \
      err = e.why().clone();                                                                                           \
      CHECK_EQ(std::string_view(e.what()), err.message());                                                             \
    }                                                                                                                  \
    check::failure(err, wslink::code::code_name, #__VA_ARGS__, __FILE__, __LINE__);                                    \
  } while (0)

// A test: `TEST(name) { ... }`. A test that needs a server runs for both protocols, with the URL in `url`.
#define TEST(name)                                                                                                     \
  static void name();                                                                                                  \
  static const check::registered name##_registered(#name, name);                                                       \
  static void name()
#define SERVER_TEST(name)                                                                                              \
  static void name(const check::server &url);                                                                          \
  static const check::registered name##_registered(#name, name);                                                       \
  static void name(const check::server &url)

namespace check {

struct server {
  std::string text;
  int protocol;
  operator std::string_view() const { return text; }
};

struct test {
  const char *name;
  void (*alone)();
  void (*with_server)(const server &);
};

inline std::vector<test> &tests() {
  static std::vector<test> all;
  return all;
}
struct registered {
  registered(const char *name, void (*run)()) { tests().push_back({name, run, nullptr}); }
  registered(const char *name, void (*run)(const server &)) { tests().push_back({name, nullptr, run}); }
};

inline std::atomic<int> failures{0};

inline bool that(bool holds, const char *what, const char *file, int line) {
  if (!holds) {
    ++failures;
    std::printf("%s:%d: failed: %s\n", file, line, what);
    std::fflush(stdout);
  }
  return holds;
}

inline std::string show(std::string_view text) { return "\"" + std::string(text) + "\""; }
inline std::string show(wslink::code c) { return wslink::to_text(c); }
inline std::string show(wslink::kind k) { return wslink::to_text(k); }
inline std::string show(wslink::state s) { return wslink::to_text(s); }
template <class T>
std::string show(const T &other) {
  if constexpr (std::is_arithmetic_v<T>) {
    return std::to_string(other);
  } else {
    return "(a value)";
  }
}

template <class A, class B>
bool equal(const A &actual, const B &expected, const char *what, const char *file, int line) {
  bool same = false;
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && !std::is_same_v<A, B>) {
    using wide = std::common_type_t<A, B>;
    same = static_cast<wide>(actual) == static_cast<wide>(expected) && (actual < A{}) == (expected < B{});
  } else {
    same = actual == expected;
  }
  if (!that(same, what, file, line))
    std::printf("  it is %s, not %s\n", show(actual).c_str(), show(expected).c_str());
  return same;
}

inline void must(bool holds, const char *what, const char *file, int line) {
  if (that(holds, what, file, line))
    return;
  std::printf("cannot go on\n");
  std::fflush(stdout);
  std::_Exit(1);
}

inline void failure(const wslink::error &err, wslink::code expected, const char *what, const char *file, int line) {
  if (!equal(err.code(), expected, what, file, line))
    std::printf("  message: %s\n", err.message());
  that(!err || *err.message(), "a failure has a message", file, line);
}

inline server server_of(int protocol) {
  const char *name = protocol == 1 ? "WSLINK_TEST_URL_V1" : "WSLINK_TEST_URL_V2";
  const char *url = std::getenv(name);
  if (!url || !*url) {
    std::printf("%s is not set: it must be the URL of a real server of protocol %d\n", name, protocol);
    std::exit(1);
  }
  return {url, protocol};
}

inline void run_one(const test &one, int protocol) {
#if WSLINK_CPP_EXCEPTIONS
  try {
#endif
    if (one.alone) {
      one.alone();
    } else {
      one.with_server(server_of(protocol));
    }
#if WSLINK_CPP_EXCEPTIONS
  } catch (const std::exception &e) {
    that(false, e.what(), one.name, 0);
  }
#endif
}

// Runs all tests, or those named by arguments.
inline int run(int argc, char **argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  int count = 0;
  for (const test &one : tests()) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i)
      wanted = wanted || std::strcmp(argv[i], one.name) == 0;
    if (!wanted)
      continue;
    for (int protocol = 1; protocol <= (one.alone ? 1 : 2); ++protocol) {
      const int before = failures;
      run_one(one, protocol);
      const char *on = one.alone ? "" : protocol == 1 ? " (protocol 1)" : " (protocol 2)";
      std::printf("%-6s %s%s\n", failures == before ? "ok" : "FAILED", one.name, on);
      ++count;
    }
  }
  std::printf("%d tests, %d failed checks\n", count, failures.load());
  return count == 0 || failures > 0 ? 1 : 0;
}

// Counts its copies, to check when callables are destroyed.
class counted {
public:
  explicit counted(std::atomic<int> &alive) : alive_(&alive) { ++*alive_; }
  counted(const counted &other) : alive_(other.alive_) { ++*alive_; }
  counted &operator=(const counted &) = delete;
  ~counted() { --*alive_; }

private:
  std::atomic<int> *alive_;
};

// Byte `i` of the data of test.bytes.
inline std::uint8_t pattern_at(std::size_t i, unsigned seed) {
  return static_cast<std::uint8_t>(i * 31 + (i >> 8) * 7 + (i >> 16) * 13 + seed);
}
inline std::vector<std::uint8_t> pattern(std::size_t size, unsigned seed = 0) {
  std::vector<std::uint8_t> data(size);
  for (std::size_t i = 0; i < size; ++i)
    data[i] = pattern_at(i, seed);
  return data;
}
inline bool is_pattern(wslink::bytes_view data, std::size_t size, unsigned seed = 0) {
  if (data.size() != size)
    return false;
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] != pattern_at(i, seed))
      return false;
  }
  return true;
}

// A ready session.
inline wslink::session ready(const server &url, wslink::delivery where = wslink::delivery::queued) {
  wslink::error err;
  wslink::config config(url, &err);
  config.delivery(where, &err);
  wslink::session session(config, &err);
  session.connect(&err);
  if (err)
    std::printf("%s: %s\n", url.text.c_str(), err.message());
  MUST(session.state() == wslink::state::ready);
  return session;
}

} // namespace check

int main(int argc, char **argv) { return check::run(argc, argv); }

#endif // WSLINK_TESTS_CHECK_HPP
