// The workloads of client.cpp through wslink.hpp, to measure what the C++ wrapper adds. The command line is that of
// client.cpp.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <future>
#include <string>
#include <string_view>
#include <vector>
#include <wslink.hpp>

#include "messages.hpp"
#include "meter.hpp"

namespace {

using namespace std::chrono_literals;
using bench::die;
using bench::meter;

int from_environment(const char *name, int otherwise) {
  const char *text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

wslink::session open(const char *url, bool io_thread) {
  if (const char *where = std::getenv("WSLINK_DELIVERY"))
    io_thread = std::string_view(where) == "io";
  wslink::config config(url);
  config.protocol(static_cast<wslink::protocol>(from_environment("WSLINK_PROTOCOL", 0)));
  config.delivery(io_thread ? wslink::delivery::io_thread : wslink::delivery::queued);
  wslink::session session(config);
  session.connect();
  return session;
}

// Signals the end of work in callbacks. It outlives the session, whose thread may still be in finish().
class ending {
public:
  void finish() {
    finished_ = true;
    over_.set_value();
  }
  // Runs callbacks until one of them calls finish(). With delivery on the I/O thread it only waits.
  void run(const wslink::session &session) {
    const char *where = std::getenv("WSLINK_DELIVERY");
    if (!where || std::string_view(where) == "io")
      return over_.get_future().wait();
    while (!finished_)
      session.dispatch(1000ms);
  }

private:
  bool finished_ = false;
  std::promise<void> over_;
};

// The sum of all numbers, string sizes and key sizes.
double see(std::string_view kind, wslink::value list) {
  double sum = 0;
  if (kind == "floats") {
    for (wslink::value each : list)
      sum += each.get<double>();
  } else if (kind == "strings" && bench::one_by_one()) {
    std::size_t sizes = 0;
    for (wslink::value each : list)
      sizes += each.get<std::string_view>().size();
    sum = double(sizes);
  } else if (kind == "strings") {
    std::size_t sizes = 0;
    if (!list.each_string([&](std::string_view text) { sizes += text.size(); }))
      die("string");
    sum = double(sizes);
  } else {
    constexpr double keys = 2 + 4 + 7 + 7 + 8 + 6 + 5 + 4;
    for (wslink::value record : list) {
      // Added up at the end, as in client.cpp.
      const auto id = record["id"].get<double>();
      const auto name = record["name"].get<std::string_view>();
      const auto visible = record["visible"].get<bool>();
      const auto opacity = record["opacity"].get<double>();
      const auto position = record["position"].get<std::array<double, 3>>();
      const wslink::value parent = record["parent"];
      const auto above = parent.get_if<double>();
      if (!above && !parent.is_null())
        die("record");
      const auto mtime = record["mtime"].get<double>();
      const auto kind_of_it = record["kind"].get<std::string_view>();
      sum += id + double(name.size()) + visible + opacity + position[0] + position[1] + position[2] +
             above.value_or(0) + mtime + double(kind_of_it.size()) + keys;
    }
  }
  return sum;
}

double see_in_bulk(wslink::value list, std::vector<double> &to) {
  to.resize(list.size());
  if (!list.copy_to(to.data(), to.size()))
    die("copy");
  double sum = 0;
  for (double v : to)
    sum += v;
  return sum;
}

struct pipeline {
  const wslink::session &session;
  meter &times;
  ending &end;
  long total, depth, sent = 0, done = 0;
  // Refilled for each call, like the arguments in client.cpp.
  wslink::request echo = session.request("bench.echo");

  void next() {
    echo.arguments().begin_map().key("i").add(sent++).key("s").add("ping").end();
    echo.then([this](wslink::outcome &&reply) {
      times.check += reply.result()["i"].get<long>() == done;
      if (depth == 1)
        times.end_lap();
      if (sent < total)
        next();
      if (++done == total)
        end.finish();
    });
  }
};

} // namespace

int main(int argc, char **argv) {
  if (argc < 3)
    die("usage: client_wrapper <url> <workload> <parameters...>");
  const std::string_view workload = argv[2];
  auto number = [&](int i) {
    if (i + 3 >= argc)
      die("a number is missing");
    return std::atol(argv[i + 3]);
  };
  meter times;
  int protocol = from_environment("WSLINK_PROTOCOL", 2);
  if (workload == "connect") {
    times.begin();
    for (long i = 0; i < number(0); i++) {
      times.start_lap();
      {
        wslink::session session = open(argv[1], true);
        session.close(5s);
      }
      times.end_lap();
    }
    times.ops = times.check = double(number(0));
  } else if (workload == "decode") {
    const std::string_view kind = argv[3];
    const bool json = protocol == 1;
    const std::string text =
        (json ? bench::message<bench::Json> : bench::message<bench::Msgpack>)(kind, std::size_t(number(1)));
    std::vector<double> out;
    times.repeat(number(2), [&] {
      wslink::document message = wslink::document::decode({text.data(), text.size()},
                                                          json ? wslink::encoding::json : wslink::encoding::msgpack);
      times.check = kind == "floats" ? see_in_bulk(message.result(), out) : see(kind, message.result());
    });
    times.ops = double(number(1) * number(2));
    times.bytes = double(text.size()) * double(number(2));
  } else {
    const bool waits = workload == "latency" || workload == "structured" || workload == "bulk" || workload == "upload";
    ending end;
    const wslink::session session = open(argv[1], !waits);
    protocol = static_cast<int>(session.protocol());
    if (workload == "latency") {
      auto once = [&](long i) {
        wslink::document reply = session.call("bench.echo", wslink::map({"i", i}, {"s", "ping"}));
        return reply.result()["i"].get<long>() == i;
      };
      for (long i = 0; i < 500; i++)
        once(i);
      times.begin();
      for (long i = 0; i < number(0); i++) {
        times.start_lap();
        times.check += once(i);
        times.end_lap();
      }
      times.ops = double(number(0));
    } else if (workload == "latencycb" || workload == "pipeline") {
      pipeline calls{session, times, end, number(0), workload == "pipeline" ? number(1) : 1};
      times.begin();
      // The thread that completes the calls also makes them.
      session.request("bench.echo", 0).then([&calls](wslink::outcome &&) {
        while (calls.sent < std::min(calls.depth, calls.total))
          calls.next();
      });
      end.run(session);
      times.ops = double(calls.done);
    } else if (workload == "fanin" || workload == "blob") {
      const bool small = workload == "fanin";
      const std::size_t size = small ? 0 : std::size_t(number(0));
      long seen = 0;
      double sum = 0;
      wslink::subscription subscription = session.subscribe(
          small ? "bench.small" : "bench.blob",
          [&](const wslink::publication &message) {
            if (small) {
              sum += message.result()["i"].get<double>();
            } else {
              const wslink::bytes_view blob = message.result()["blob"].get<wslink::bytes_view>();
              bench::check_blob(blob.data(), blob.size(), size);
              if (message.result()["mtime"].get<long>() != seen)
                die("order");
              times.end_lap();
            }
            seen++;
          },
          wslink::keep_all(UINT32_MAX));
      times.begin();
      auto finished = [&](wslink::outcome &&reply) {
        reply.result();
        end.finish();
      };
      if (small)
        session.request("bench.publish.small", "bench.small", number(0)).then(finished);
      else
        session.request("bench.publish.blob", "bench.blob", number(1), number(0)).then(finished);
      end.run(session);
      times.ops = double(seen);
      times.bytes = double(seen) * double(size);
      times.check = small ? sum : double(seen);
      subscription.reset();
    } else if (workload == "structured" || workload == "bulk") {
      const bool bulk = workload == "bulk";
      const std::string_view kind = bulk ? "floats" : argv[3];
      const long count = number(bulk ? 0 : 1), repeats = number(bulk ? 1 : 2);
      std::vector<double> out;
      session.call("bench.structured", kind, 10);
      times.begin();
      for (long i = 0; i < repeats; i++) {
        times.start_lap();
        {
          wslink::document reply = session.call("bench.structured", kind, count);
          times.check = bulk ? see_in_bulk(reply.result(), out) : see(kind, reply.result());
        }
        times.end_lap();
      }
      times.ops = double(count * repeats);
    } else if (workload == "upload") {
      const long size = number(0), count = number(1);
      const std::vector<std::uint8_t> data = bench::blob(std::size_t(size));
      times.begin();
      for (long i = 0; i < count; i++) {
        times.start_lap();
        wslink::document reply = session.call("bench.upload", wslink::by_reference_for_ever(data.data(), data.size()));
        times.check += reply.result().get<long>() == size;
        times.end_lap();
      }
      times.ops = double(count);
      times.bytes = double(size) * double(count);
    } else {
      die("no such workload");
    }
    times.end();
    session.close(5s);
  }
  times.report("wrapper", protocol, argc, argv);
}
