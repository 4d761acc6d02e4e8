// A client in a GLib main loop: prints a number of publications of the chat-rpc-pub-sub server (default 5), while the
// loop also runs other sources, here a clock. Nothing blocks and nothing is locked: all callbacks run on this one
// thread.
//
//     glib_loop ws://localhost:8080/ws [MESSAGES]

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include <wslink.hpp>
#include <wslink/adapters/glib.hpp>

namespace {

class listener {
public:
  listener(const char *url, int messages) : config_(url), remaining_(messages) {
    config_.on_state([this](const wslink::state_change &now) { state_changed(now); });
    session_ = dispatcher_.make_session(config_);
    channel_ = session_.subscribe("wslink.communication.channel", [this](const wslink::publication &said) {
      std::printf("heard: %s\n", said.get<std::string>().c_str());
      if (--remaining_ == 0)
        stop();
    });
    session_.begin_connect();
  }

  // Runs the loop until all messages have arrived or the connection has ended. Returns the exit status.
  int run() {
    const guint clock = g_timeout_add(100, tick, &ticks_);
    g_main_loop_run(loop_.get());
    g_source_remove(clock);
    std::printf("%s; the clock ticked %d times\n", remaining_ <= 0 ? "all heard" : "the connection ended", ticks_);
    return remaining_ <= 0 ? 0 : 1;
  }

private:
  void state_changed(const wslink::state_change &now) {
    if (now.reason)
      std::fprintf(stderr, "glib_loop: %s\n", now.reason.message());
    if (now.state == wslink::state::ready)
      session_.request("wslink.start.talking").send();
    if (now.state == wslink::state::closed)
      g_main_loop_quit(loop_.get());
  }
  void stop() {
    channel_.reset();
    session_.request("wslink.stop.talking").then([this](wslink::outcome &&) {
      wslink::error ignored;
      session_.begin_close(std::chrono::seconds(1), &ignored);
    });
  }
  static gboolean tick(gpointer ticks) {
    ++*static_cast<int *>(ticks);
    return G_SOURCE_CONTINUE;
  }

  std::unique_ptr<GMainLoop, decltype(&g_main_loop_unref)> loop_{g_main_loop_new(nullptr, FALSE), g_main_loop_unref};
  wslink::config config_;
  int remaining_;
  int ticks_ = 0;
  wslink::glib::dispatcher dispatcher_;
  wslink::session session_;
  wslink::subscription channel_;
};

// The hook for exceptions of callbacks, because they cannot propagate through GLib.
void report(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(std::move(thrown));
  } catch (const std::exception &e) {
    std::fprintf(stderr, "glib_loop: in a callback: %s\n", e.what());
  }
}

} // namespace

int main(int argc, char **argv) {
  wslink::set_exception_hook(report);
  try {
    return listener(argc > 1 ? argv[1] : "ws://localhost:8080/ws", argc > 2 ? std::atoi(argv[2]) : 5).run();
  } catch (const wslink::exception &e) {
    std::fprintf(stderr, "glib_loop: %s\n", e.what());
    return 1;
  }
}
