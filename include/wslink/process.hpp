/// @file
/// Servers that are started as child processes.

#ifndef WSLINK_PROCESS_HPP
#define WSLINK_PROCESS_HPP

#include "config.hpp"

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// A wslink server that sessions start as a child process, and that ends with them.
///
///     wslink::process server({"python3", "app.py"});
///     wslink::session session(server.config());
///     session.connect();  // starts the server, and waits until it is reached
///
/// Each attempt to connect starts the server if it does not run: a session that reconnects also restarts it. It is
/// ended (SIGTERM to its process group, SIGKILL after end_timeout()) when the last process, config and session that use
/// it are destroyed; that destructor waits for the end. See wslink_process for more.
///
/// The server is expected to take `--reverse-url`, as all wslink and trame servers do; otherwise see printed_port() and
/// chosen_port(). The setters return the process, so that they can be chained, and fail after the first config(). One
/// thread at a time, except for id() and end().
class process {
public:
  /// The program (a path, or a name that is searched in PATH) and its arguments. The placeholders `{url}`, `{port}`,
  /// `{secret}` and `{secret_file}` are replaced, see wslink_process_new(). Empty after a failure that `err` received.
  explicit process(const std::vector<std::string> &command, error *err = nullptr) {
    std::vector<const char *> words;
    for (const std::string &word : command) {
      if (word.find('\0') != word.npos) {
        detail::fail(error(code::argument, "a word of the command contains a NUL character"), err);
        return;
      }
      words.push_back(word.c_str());
    }
    set(err, [&](wslink_error **e) { return wslink_process_new(words.data(), words.size(), &handle_, e); });
  }
  /// As the other constructor.
  process(std::initializer_list<std::string> command, error *err = nullptr)
      : process(std::vector<std::string>(command), err) {}
  /// Leaves `other` empty.
  process(process &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  process &operator=(process &&other) noexcept {
    process moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  process(const process &) = delete;
  process &operator=(const process &) = delete;
  ~process() { wslink_process_free(handle_); }

  /// The C process, borrowed.
  wslink_process *c_ptr() const noexcept { return handle_; }

  /// Adds a variable to the environment that the server inherits.
  process &environment(const std::string &name, const std::string &value, error *err = nullptr) {
    return set_texts(name, value, err,
                     [this](auto *n, auto *v, auto **e) { return wslink_process_set_environment(handle_, n, v, e); });
  }
  /// Sets the folder in which the server runs. Default: the current one.
  process &folder(const std::string &path, error *err = nullptr) {
    return set_texts(path, "", err,
                     [this](auto *p, auto *, auto **e) { return wslink_process_set_folder(handle_, p, e); });
  }
  /// The server chooses a port and prints it: after the text `before`, such as "READY "; without one, in a URL.
  process &printed_port(const std::string &before = {}, error *err = nullptr) {
    return set_texts(before, "", err, [&](auto *b, auto *, auto **e) {
      return wslink_process_set_reach(handle_, WSLINK_REACH_PRINTED_PORT, before.empty() ? nullptr : b, e);
    });
  }
  /// A free port is chosen for the server (`--port {port}`), and connecting is tried until it listens.
  process &chosen_port(error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_process_set_reach(handle_, WSLINK_REACH_CHOSEN_PORT, nullptr, e); });
  }
  /// Sets the path of the server's WebSocket, for printed_port() and chosen_port(). Default: "/ws".
  process &path(const std::string &text, error *err = nullptr) {
    return set_texts(text, "", err,
                     [this](auto *p, auto *, auto **e) { return wslink_process_set_path(handle_, p, e); });
  }
  /// Sets how long the server may take to end after SIGTERM; then it is killed. Default: 5 s.
  template <class Rep, class Period>
  process &end_timeout(std::chrono::duration<Rep, Period> time, error *err = nullptr) {
    std::uint32_t ms = time == time.zero() ? 0 : detail::to_ms(time);
    return set(err, [&](auto **e) { return wslink_process_set_end_timeout(handle_, ms, e); });
  }
  /// Sets the callback for each line that the server prints: `void(const char* line, bool on_error)`, the line without
  /// its line break, borrowed. Runs on a thread of the library, which reads nothing meanwhile; it must not destroy the
  /// process or a session that uses it.
  template <class F>
  process &on_line(F &&callback, error *err = nullptr) {
    using target = std::decay_t<F>;
    // The C function takes ownership, also if it fails.
    auto *kept = new target(std::forward<F>(callback));
    return set(err, [&](auto **e) {
      return wslink_process_on_line(handle_, run_line<target>, kept, detail::destroy<target>, e);
    });
  }

  /// A config with the defaults, whose sessions start the server. If the server connects by itself (the default), use
  /// it for one session.
  wslink::config config(error *err = nullptr) const {
    wslink_config *made = nullptr;
    detail::outlet out(err);
    out.succeeded(wslink_config_new_starting(handle_, &made, out.c()));
    return wslink::config::from_c(made);
  }
  /// The id of the server's process while it runs; otherwise 0. Any thread.
  std::uint32_t id() const noexcept { return wslink_process_id(handle_); }
  /// The URL at which other clients reach the server. Empty while it does not run or has not told its address, and if
  /// it connects by itself (the default). Any thread.
  std::string url() const {
    return text([this](char *to, std::size_t size) { return wslink_process_url(handle_, to, size); });
  }
  /// The path of the file with the secret of the server, for other clients of the same user. Empty while the server
  /// does not run, and if nothing has the placeholder `{secret_file}`. Any thread.
  std::string secret_file() const {
    return text([this](char *to, std::size_t size) { return wslink_process_secret_file(handle_, to, size); });
  }
  /// Ends the server, if it runs, and waits for its end. A session that reconnects starts it again. Any thread.
  void end() const noexcept { wslink_process_end(handle_); }

private:
  template <class F>
  static void run_line(void *user, const char *line, bool on_error) noexcept {
    detail::guarded_alone([&] { (*static_cast<F *>(user))(line, on_error); });
  }
  template <class Copy>
  static std::string text(Copy copy) {
    // It may change meanwhile, with the end of the server.
    std::string found(copy(nullptr, 0), '\0');
    found.resize((std::min)(copy(found.data(), found.size() + 1), found.size()));
    return found;
  }
  template <class Setter>
  process &set(error *err, Setter setter) {
    detail::outlet out(err);
    out.succeeded(setter(out.c()));
    return *this;
  }
  template <class Setter>
  process &set_texts(const std::string &first, const std::string &second, error *err, Setter setter) {
    if (first.find('\0') != first.npos || second.find('\0') != second.npos) {
      detail::fail(error(code::argument, "the text of an option contains a NUL character"), err);
      return *this;
    }
    return set(err, [&](auto **e) { return setter(first.c_str(), second.c_str(), e); });
  }

  wslink_process *handle_ = nullptr;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_PROCESS_HPP
