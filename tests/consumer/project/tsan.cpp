// A user's program with ThreadSanitizer and a libwslink.so that was built without it. All data passes between threads
// through the library, so there is no race. With a second argument there is one race, which must be reported.
#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>
#include <wslink.hpp>

namespace {

using namespace std::chrono_literals;

// Data of one thread, read by a callback on another.
struct job {
  std::vector<int> numbers{1, 2, 3};
  std::string name = "a job";
  int sum = 0;
};

void use(const std::string &url, wslink::delivery where) {
  std::atomic<int> left{0};
  long published = 0; // used only by the thread that runs callbacks
  std::size_t bytes = 0;
  wslink::config config(url);
  config.delivery(where).on_state(
      [last = wslink::state::idle](const wslink::state_change &now) mutable { last = now.state; });
  config.log(wslink::log_level::debug, [](wslink::log_level, const char *) {});
  wslink::session session(config);
  session.connect();
  auto images = session.subscribe("image", [&](const wslink::publication &p) {
    const auto png = p.result()["blob"].get<wslink::buffer>();
    for (std::size_t i = 0; i < png.size(); ++i)
      bytes += png.data()[i];
    ++published;
  });
  session.call("myprotocol.stream", "image");

  std::vector<std::thread> threads;
  left = 4 * 25;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&session, &left] {
      for (int i = 0; i < 25; ++i) {
        auto mine = std::make_shared<job>();
        session.request("myprotocol.add", mine->numbers).then([mine, &left](wslink::outcome &&what) {
          mine->sum = what.get<int>() + static_cast<int>(mine->name.size());
          --left;
        });
        std::vector<std::uint8_t> data(20'000, static_cast<std::uint8_t>(i));
        const wslink::document echo = session.call("test.echo", wslink::by_reference(std::move(data)));
        const auto back = echo["args"][0].get<wslink::bytes_view>();
        if (back.size() != 20'000 || back[19'999] != i)
          std::abort();
      }
    });
  if (where == wslink::delivery::queued)
    session.dispatch_until([&] { return left == 0; }, 60s);
  for (std::thread &each : threads)
    each.join();
  while (left != 0)
    std::this_thread::yield();
  auto future = session.request("myprotocol.add", {1, 2}).future();
  if (where == wslink::delivery::queued)
    session.dispatch_until(future, 60s);
  if (future.get().get<int>() != 3)
    std::abort();
  session.call("myprotocol.stop", "image");
  images.reset();
  session.close();
  std::printf("%ld images\n", published);
}

} // namespace

int main(int argc, char **argv) {
  use(argv[1], wslink::delivery::queued);
  use(argv[1], wslink::delivery::io_thread);
  if (argc > 2) {
    long raced = 0;
    std::thread other([&raced] { ++raced; });
    ++raced;
    other.join();
    std::printf("%ld\n", raced);
  }
}
