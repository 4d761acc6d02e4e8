// A tour of the library with the server of this project's tests (tests/servers/app.py): every part prints what it
// does, and checks the results. The same program works with both protocols.
//
//     tour ws://localhost:8080/ws [--out DIR]

#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <wslink.hpp>

#include "sha256.hpp"

namespace {

using namespace std::chrono_literals;

void heading(const char *text) {
  static int number = 0;
  std::printf("\n%d. %s\n", ++number, text);
}

void expect(bool holds, const char *what) {
  if (!holds)
    throw std::runtime_error(std::string("not as expected: ") + what);
}

void calls(const wslink::session &session) {
  heading("Calls: arguments of C++ types, results as C++ types");
  const int sum = session.call("myprotocol.add", {1, 2, 3}).get<int>();
  std::printf("   myprotocol.add([1, 2, 3]) = %d\n", sum);
  expect(sum == 6, "the sum");

  const wslink::document echo = session.call("test.echo", 2.5, "Größe", wslink::kw("size", {640, 480}));
  const auto size = echo["kwargs"]["size"].get<std::vector<int>>();
  std::printf("   test.echo(2.5, \"Größe\", size=[640, 480]) = %s\n", echo.result().to_json().text().data());
  expect(size == std::vector<int>{640, 480} && echo["args"][1].get<std::string>() == "Größe", "the echo");
}

void remote_errors(const wslink::session &session) {
  heading("Errors of the server, as exceptions with all they bring");
  try {
    session.call("myprotocol.mistake.TYPO");
    expect(false, "a method that does not exist fails");
  } catch (const wslink::exception &e) {
    std::printf("   %s\n", e.what());
    expect(e.why().remote_code() == -32601, "the code of an unknown method");
  }
  // Or as a value, without exceptions:
  wslink::error failure;
  session.call("test.raise", "KeyError", &failure);
  const auto exception = failure.remote_data()["exception"].get_or<std::string>("?");
  std::printf("   %s\n   on the server: %s\n", failure.message(), exception.c_str());
  expect(failure.remote_code() == -32001, "the code of an exception");
}

void publications(const wslink::session &session) {
  heading("Publications: what the server says by itself");
  int heard = 0;
  const auto channel = session.subscribe("wslink.communication.channel", [&](const wslink::publication &said) {
    std::printf("   %s\n", said.get<std::string>().c_str());
    ++heard;
  });
  session.call("wslink.start.talking");
  expect(session.dispatch_until([&] { return heard >= 3; }, 20s), "three messages");
  session.call("wslink.stop.talking");
}

void image(const wslink::session &session, const std::string &folder) {
  heading("An image: binary data, kept where it arrived");
  const wslink::document reply = session.call("myprotocol.image", wslink::kw("alt", true));
  const auto png = reply["blob"].get<wslink::buffer>(); // outlives the reply, no copy
  expect(png.size() > 8 && std::memcmp(png.data(), "\x89PNG\r\n\x1a\n", 8) == 0, "a PNG file");

  const std::string path = folder + "/tour.png";
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char *>(png.data()), static_cast<std::streamsize>(png.size()));
  file.close();
  expect(!file.fail(), ("written to " + path).c_str());
  std::printf("   %zu bytes of PNG in %s\n", png.size(), path.c_str());
}

void upload(const wslink::session &session) {
  heading("Binary data up, sent from where it lies");
  std::vector<std::uint8_t> data(3'000'000);
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<std::uint8_t>(i * i >> 3);
  const std::string ours = sha256(data.data(), data.size());
  const wslink::document sum = session.call("test.sum", wslink::by_reference(std::move(data)));
  const auto theirs = sum["sha256"].get<std::string>();
  std::printf("   %llu bytes, SHA-256 here  %s\n                  on the server %s\n",
              sum["len"].get<unsigned long long>(), ours.c_str(), theirs.c_str());
  expect(ours == theirs, "the same bytes on both sides");
}

void large(const wslink::session &session, const std::uint64_t &arrived) {
  constexpr std::size_t size = std::size_t{64} << 20;
  heading("A large transfer, with its progress");
  auto reply = session.request("test.bytes", size, 3).timeout(120s).future();
  session.dispatch_until(reply); // runs the progress callback of main() too
  const wslink::document message = reply.get();
  const auto data = message.get<wslink::bytes_view>();
  expect(data.size() == size, "all bytes");
  expect(session.dispatch_until([&] { return arrived >= size; }, 20s), "progress told to the end");
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] != static_cast<std::uint8_t>(i * 31 + (i >> 8) * 7 + (i >> 16) * 13 + 3))
      expect(false, "every byte");
  }
  std::printf("   %zu MiB arrived, every byte as it should be\n", size >> 20);
}

void tour(const char *url, const std::string &folder) {
  heading("Connecting, and finding out what the server speaks");
  std::uint64_t arrived = 0;
  wslink::config config(url);
  config.connect_timeout(20s).on_progress([&](const wslink::progress &now) {
    if (!now.incoming)
      return;
    // One line for each quarter, instead of a progress bar.
    if (now.bytes * 4 / now.total != arrived * 4 / now.total || now.bytes == now.total) {
      std::printf("   %3d%% of %d MiB\n", static_cast<int>(now.bytes * 100 / now.total),
                  static_cast<int>(now.total >> 20));
    }
    arrived = now.bytes;
  });
  const wslink::session session(config);
  session.connect();
  const bool v2 = session.protocol() == wslink::protocol::v2;
  std::printf("   %s is ready: protocol %s, this client is %s\n", session.peer_address().c_str(),
              v2 ? "2 (msgpack)" : "1 (JSON)", session.client_id().c_str());
  if (v2)
    std::printf("   messages travel in chunks of at most %d bytes\n", static_cast<int>(session.max_msg_size()));

  calls(session);
  remote_errors(session);
  publications(session);
  image(session, folder);
  upload(session);
  large(session, arrived);

  heading("Closing, in agreement with the server");
  session.close();
  const wslink::stats total = session.stats();
  std::printf("   closed after %d calls, %d MB received, %d MB sent\n", static_cast<int>(total.calls),
              static_cast<int>(total.bytes_in / 1000000), static_cast<int>(total.bytes_out / 1000000));
  expect(session.state() == wslink::state::closed && !session.failure(), "a clean end");
}

} // namespace

int main(int argc, char **argv) {
  const char *url = nullptr;
  std::string folder = ".";
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
      folder = argv[++i];
    } else if (!url && argv[i][0] != '-') {
      url = argv[i];
    } else {
      url = nullptr;
      break;
    }
  }
  if (!url) {
    std::fprintf(stderr, "usage: tour ws://HOST:PORT/ws [--out DIR]\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ); // line by line, also into a pipe
  try {
    tour(url, folder);
    std::printf("\nAll of it worked.\n");
    return 0;
  } catch (const std::exception &e) {
    std::printf("\nThe tour ends here: %s\n", e.what());
    return 1;
  }
}
