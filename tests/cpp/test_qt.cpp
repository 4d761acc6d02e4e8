// The dispatcher of the Qt adapter: objects destroyed inside callbacks, no lost events.

#include <wslink/adapters/qt.hpp>
#include <wslink/adapters/qt.hpp> // twice does no harm

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <stdexcept>

#include <QtCore/QEventLoop>
#include <QtCore/QThread>
#include <QtCore/QTimer>

#include "check.hpp"

namespace {

using namespace std::chrono_literals;

// An application for one test.
class application {
public:
  // A Qt warning is a failure.
  application() {
    qInstallMessageHandler([](QtMsgType type, const QMessageLogContext &, const QString &text) {
      if (!check::that(type != QtWarningMsg && type != QtCriticalMsg, "Qt has nothing to warn of", __FILE__, __LINE__))
        std::printf("  it warns: %s\n", text.toUtf8().constData());
    });
  }
  // Runs the event loop until `done()`; false after a timeout.
  bool run_until(const std::function<bool()> &done) {
    QTimer limit;
    limit.setSingleShot(true);
    limit.start(30'000);
    while (!done() && limit.isActive())
      QCoreApplication::processEvents(QEventLoop::WaitForMoreEvents);
    return done();
  }
  // Handles the pending events, and those that they cause.
  void settle() {
    for (int i = 0; i < 10; ++i) {
      QCoreApplication::sendPostedEvents();
      QCoreApplication::processEvents();
    }
  }

private:
  int argc_ = 1;
  char name_[5] = "test";
  char *argv_[2] = {name_, nullptr};
  QCoreApplication app_{argc_, argv_};
};

// Waits, without dispatching, until `count` events are queued.
void wait_waiting(const wslink::session &session, std::uint64_t events) {
  while (session.stats().events_waiting < events)
    session.call("test.info");
}

// A ready session whose state changes were dispatched.
wslink::session ready(wslink::qt::dispatcher &dispatcher, const check::server &url) {
  wslink::config config(url);
  wslink::session session = dispatcher.make_session(config);
  session.connect();
  while (session.dispatch() > 0) {
  }
  return session;
}

SERVER_TEST(everything_comes_by_the_event_loop) {
  application app;
  wslink::qt::dispatcher dispatcher;
  wslink::config config(url);
  std::vector<wslink::state> states;
  std::vector<int> heard;
  int sum = 0;
  QThread *const here = QThread::currentThread();
  config.on_state([&](const wslink::state_change &now) {
    CHECK(QThread::currentThread() == here);
    states.push_back(now.state);
  });
  const wslink::session session = dispatcher.make_session(config);
  const auto sub = session.subscribe("t.qt", [&](const wslink::publication &p) {
    CHECK(QThread::currentThread() == here);
    heard.push_back(p.result()["i"].get<int>());
  });
  session.begin_connect();
  CHECK(app.run_until([&] { return !states.empty() && states.back() == wslink::state::ready; }));
  session.request("myprotocol.add", {1, 2, 3}).then([&](wslink::outcome &&o) {
    CHECK(QThread::currentThread() == here);
    sum = o.get<int>();
  });
  session.request("test.publish", "t.qt", 3).then([](wslink::outcome &&) {});
  CHECK(app.run_until([&] { return sum != 0 && heard.size() == 3; }));
  CHECK(sum == 6 && heard == std::vector<int>({0, 1, 2}));
  session.begin_close();
  CHECK(app.run_until([&] { return states.back() == wslink::state::closed; }));
}

SERVER_TEST(what_came_while_no_loop_ran_is_not_lost) {
  application app;
  wslink::qt::dispatcher dispatcher;
  const wslink::session session = ready(dispatcher, url);
  std::vector<int> heard;
  std::size_t heard_at_timer = 0;
  QObject other;
  const auto sub = session.subscribe("t.qt", [&](const wslink::publication &p) {
    // Posted after the adapter's event: other events run although events of the session are still queued.
    if (heard.empty())
      QMetaObject::invokeMethod(
          &other, [&] { heard_at_timer = heard.size(); }, Qt::QueuedConnection);
    heard.push_back(p.result()["i"].get<int>());
  });
  session.call("test.publish", "t.qt", 1000);
  wait_waiting(session, 1000);
  CHECK(app.run_until([&] { return heard.size() == 1000; }));
  for (int i = 0; i < 1000; ++i)
    MUST(heard[static_cast<std::size_t>(i)] == i);
  CHECK(heard_at_timer > 0 && heard_at_timer < 1000);
  app.settle();
  CHECK_EQ(sub.counts().dropped, 0);
}

SERVER_TEST(a_session_ends_inside_its_own_callback) {
  application app;
  wslink::qt::dispatcher dispatcher;
  auto session = std::make_unique<wslink::session>(ready(dispatcher, url));
  std::atomic<int> alive{0};
  std::vector<std::string> log;
  const auto done = [&](const char *name, bool end) {
    return [&log, &session, name, end, alive = check::counted(alive)](wslink::outcome &&o) {
      log.push_back(std::string(name) + (o ? " reply" : " failed"));
      if (end) {
        session.reset();
        log.push_back("ended");
      }
    };
  };
  session->request("test.info").then(done("first", true));
  session->request("test.info").then(done("second", false));
  wait_waiting(*session, 2);
  CHECK(app.run_until([&] { return !session; }));
  app.settle();
  // The end of the session completed the second call as closed, and nothing ran after it.
  CHECK((log == std::vector<std::string>{"first reply", "second failed", "ended"}));
  CHECK_EQ(alive.load(), 0);

  // The dispatcher serves another session.
  bool again = false;
  const wslink::session next = ready(dispatcher, url);
  next.request("test.info").then([&](wslink::outcome &&o) { again = static_cast<bool>(o); });
  CHECK(app.run_until([&] { return again; }));
}

SERVER_TEST(the_dispatcher_ends_inside_a_callback) {
  application app;
  auto dispatcher = std::make_unique<wslink::qt::dispatcher>();
  const wslink::session session = ready(*dispatcher, url);
  int first = 0, second = 0;
  session.request("test.info").then([&](wslink::outcome &&) {
    ++first;
    dispatcher.reset();
  });
  session.request("test.info").then([&](wslink::outcome &&) { ++second; });
  wait_waiting(session, 2);
  CHECK(app.run_until([&] { return first == 1; }));
  app.settle();
  CHECK_EQ(second, 0); // no loop runs it
  CHECK_EQ(session.dispatch(), 1);
  CHECK_EQ(second, 1); // it was kept
}

// Both are members of a window, and a callback deletes the window.
struct window : QObject {
  wslink::qt::dispatcher dispatcher;
  wslink::session session;
  window(const check::server &url) : session(ready(dispatcher, url)) {}
};

SERVER_TEST(both_end_inside_a_callback) {
  application app;
  auto shown = std::make_unique<window>(url);
  int calls = 0;
  shown->session.request("test.info").then([&](wslink::outcome &&) {
    ++calls;
    shown.reset();
  });
  CHECK(app.run_until([&] { return !shown; }));
  app.settle();
  CHECK_EQ(calls, 1);
}

SERVER_TEST(the_parent_dies_first) {
  application app;
  auto parent = std::make_unique<QObject>();
  auto *dispatcher = new wslink::qt::dispatcher(parent.get());
  wslink::session session = ready(*dispatcher, url);
  int done = 0;
  const auto count = [&](wslink::outcome &&) { ++done; };
  session.request("test.info").then(count);
  wait_waiting(session, 1); // the event is posted
  parent.reset();
  session.request("test.info").then(count);
  wait_waiting(session, 2);
  app.settle();
  CHECK_EQ(done, 0);
  CHECK(session.dispatch() == 2 && done == 2);
  session.request("test.sleep", 30).then(count);
  session = wslink::session::from_c(nullptr);
  CHECK_EQ(done, 3); // the end of a session completes its calls without an event loop
}

SERVER_TEST(a_session_may_be_moved_and_replaced) {
  application app;
  wslink::qt::dispatcher dispatcher;
  wslink::session first = ready(dispatcher, url);
  const wslink::session moved = std::move(first);
  int done = 0;
  const auto count = [&](wslink::outcome &&) { ++done; };
  moved.request("test.info").then(count);
  CHECK(app.run_until([&] { return done == 1; }));

  const wslink::session second = ready(dispatcher, url);
  moved.request("test.info").then(count);
  wait_waiting(moved, 1);
  app.settle();
  CHECK_EQ(done, 1); // not called again
  second.request("test.info").then(count);
  CHECK(app.run_until([&] { return done == 2; }));
  dispatcher.stop();
  dispatcher.stop();
  second.request("test.info").then(count);
  wait_waiting(second, 1);
  app.settle();
  CHECK_EQ(done, 2);
}

SERVER_TEST(a_loop_inside_a_callback_makes_the_session_wait) {
  application app;
  wslink::qt::dispatcher dispatcher;
  const wslink::session session = ready(dispatcher, url);
  std::vector<std::string> log;
  session.request("test.info").then([&](wslink::outcome &&) {
    log.emplace_back("begin");
    session.request("test.info").then([&](wslink::outcome &&) { log.emplace_back("second"); });
    wait_waiting(session, 1);
    QEventLoop dialog;
    QTimer::singleShot(0, &dialog, [&] { log.emplace_back("timer"); });
    QTimer::singleShot(0, &dialog, [&] { dialog.quit(); });
    dialog.exec();
    app.settle();
    log.emplace_back("end");
  });
  CHECK(app.run_until([&] { return log.size() == 4; }));
  CHECK((log == std::vector<std::string>{"begin", "timer", "end", "second"}));
}

// Callbacks of a deleted object do not run; those of an existing object do.
SERVER_TEST(callbacks_of_a_deleted_object_are_not_called) {
  application app;
  wslink::qt::dispatcher dispatcher;
  struct widget : QObject {
    std::vector<std::string> heard;
    void listen(const wslink::session &session, std::vector<wslink::subscription> &kept, wslink::latest_call &latest) {
      session.request("test.info").then(this, [this](wslink::outcome &&) { heard.emplace_back("reply"); });
      session.request("test.raise").send(this, [this](const wslink::error &) { heard.emplace_back("error"); });
      const auto hear = [this](const wslink::publication &) { heard.emplace_back("publication"); };
      kept.push_back(session.subscribe("t.qt", this, hear));
      latest = wslink::latest_call(session, "test.info", this, [this](auto &&) { heard.emplace_back("latest"); });
      latest();
    }
  };
  auto deleted = std::make_unique<widget>();
  widget there;
  int states = 0;
  wslink::config config(url);
  config.on_state(deleted.get(), [&](const wslink::state_change &) { ++states; });
  const wslink::session session = dispatcher.make_session(config);
  session.connect();
  std::vector<wslink::subscription> kept;
  wslink::latest_call first, second;
  deleted->listen(session, kept, first);
  there.listen(session, kept, second);
  const QObject *const constant = deleted.get();
  session.request("test.info").then(constant, [&](wslink::outcome &&) { ++states; });
  session.request("test.info").then(static_cast<QObject *>(nullptr), [&](wslink::outcome &&) { ++states; });
  session.call("test.publish", "t.qt", 1); // everything is queued; a callback of `deleted` would use freed memory
  deleted.reset();
  CHECK(app.run_until([&] { return there.heard.size() == 4; }));
  app.settle();
  std::sort(there.heard.begin(), there.heard.end());
  CHECK((there.heard == std::vector<std::string>{"error", "latest", "publication", "reply"}));
  CHECK(states == 0 && first.idle() && second.idle());
}

// An object that is deleted in one of its callbacks gets no further callbacks.
SERVER_TEST(an_object_is_deleted_in_its_own_callback) {
  application app;
  wslink::qt::dispatcher dispatcher;
  const wslink::session session = ready(dispatcher, url);
  auto *object = new QObject;
  int calls = 0;
  bool last = false;
  for (int i = 0; i < 3; ++i)
    session.request("test.info").then(object, [&, object](wslink::outcome &&) {
      ++calls;
      delete object;
    });
  session.request("test.info").then([&](wslink::outcome &&) { last = true; });
  CHECK(app.run_until([&] { return last; }));
  CHECK_EQ(calls, 1);
}

SERVER_TEST(all_ends_in_a_loop_inside_a_callback) {
  application app;
  auto shown = std::make_unique<window>(url);
  int calls = 0;
  bool returned = false;
  shown->session.request("test.info").then([&](wslink::outcome &&) {
    ++calls;
    QEventLoop dialog;
    QTimer::singleShot(0, &dialog, [&] {
      shown.reset();
      QTimer::singleShot(0, &dialog, &QEventLoop::quit);
    });
    dialog.exec();
    app.settle();
    returned = true;
  });
  CHECK(app.run_until([&] { return returned; }));
  app.settle();
  CHECK(calls == 1 && !shown);
}

std::vector<std::string> hooked;
void hook(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(std::move(thrown));
  } catch (const std::exception &e) {
    hooked.emplace_back(e.what());
  }
}

SERVER_TEST(exceptions_go_to_the_hook_and_not_through_qt) {
  application app;
  wslink::set_exception_hook(hook);
  wslink::qt::dispatcher dispatcher;
  const wslink::session session = ready(dispatcher, url);
  int heard = 0;
  const auto sub = session.subscribe("t.qt", [&](const wslink::publication &) {
    ++heard;
    throw std::runtime_error("publication");
  });
  session.request("test.info").then([](wslink::outcome &&) { throw std::runtime_error("completion"); });
  session.request("test.publish", "t.qt", 2).then([](wslink::outcome &&) {});
  CHECK(app.run_until([&] { return heard == 2; }));
  wslink::set_exception_hook(nullptr);
  CHECK((std::exchange(hooked, {}) == std::vector<std::string>{"completion", "publication", "publication"}));
}

SERVER_TEST(without_hook_an_exception_ends_the_program) {
  const pid_t child = fork();
  if (child == 0) {
    std::set_terminate([] { kill(getpid(), SIGKILL); });
    application app;
    wslink::qt::dispatcher dispatcher;
    const wslink::session session = ready(dispatcher, url);
    session.request("test.info").then([](wslink::outcome &&) { throw std::runtime_error("nobody takes it"); });
    try {
      app.run_until([] { return false; });
    } catch (...) {
      _exit(1); // the exception went through Qt
    }
    _exit(2);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

SERVER_TEST(nor_does_it_come_out_of_a_dispatch_further_out) {
  const pid_t child = fork();
  if (child == 0) {
    std::set_terminate([] { kill(getpid(), SIGKILL); });
    application app;
    wslink::qt::dispatcher dispatcher;
    const wslink::session session = ready(dispatcher, url);
    const wslink::session outer = check::ready(url);
    bool inner = false;
    outer.request("test.info").then([&](wslink::outcome &&) {
      session.request("test.info").then([&](wslink::outcome &&) {
        inner = true;
        throw std::runtime_error("it would unwind the loop if it came out here");
      });
      app.run_until([&] { return inner; });
    });
    try {
      outer.dispatch_until([&] { return inner; }, 20s);
    } catch (...) {
      _exit(1);
    }
    _exit(2);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

SERVER_TEST(callbacks_run_on_the_thread_of_the_dispatcher) {
  application app;
  struct worker : QThread {
    const check::server *url = nullptr;
    int sum = 0;
    void run() override {
      wslink::qt::dispatcher dispatcher;
      const wslink::session session = ready(dispatcher, *url);
      session.request("myprotocol.add", {4, 5}).then([&](wslink::outcome &&o) {
        CHECK(QThread::currentThread() == this);
        sum = o.get<int>();
        quit();
      });
      exec();
    }
  };
  worker thread;
  thread.url = &url;
  thread.start();
  CHECK(thread.wait());
  CHECK_EQ(thread.sum, 9);
}

SERVER_TEST(a_dispatcher_is_moved_to_a_thread_with_what_is_posted) {
  application app;
  auto *dispatcher = new wslink::qt::dispatcher;
  wslink::session session = ready(*dispatcher, url);
  QThread thread;
  bool moved = false;
  session.request("test.info").then([&](wslink::outcome &&) {
    moved = QThread::currentThread() == &thread;
    session = wslink::session::from_c(nullptr); // on the dispatching thread
    thread.quit();
  });
  wait_waiting(session, 1);
  QObject::connect(&thread, &QThread::finished, dispatcher, &QObject::deleteLater);
  dispatcher->moveToThread(&thread);
  thread.start();
  CHECK(thread.wait() && moved);
}

SERVER_TEST(what_cannot_be_dispatched_is_refused) {
  application app;
  wslink::qt::dispatcher dispatcher;
  wslink::config config(url);
  config.delivery(wslink::delivery::io_thread);
  FAILS(state, CHECK(!dispatcher.make_session(config, &err)));
  THROWS(state, dispatcher.make_session(config));
  wslink::config moved = std::move(config);
  FAILS(null, CHECK(!dispatcher.make_session(config, &err)));

  // It still serves its first session.
  const wslink::session session = ready(dispatcher, url);
  FAILS(state, CHECK(!dispatcher.make_session(moved, &err)));
  bool done = false;
  session.request("test.info").then([&](wslink::outcome &&) { done = true; });
  CHECK(app.run_until([&] { return done; }));
}

} // namespace
