// Listeners: sessions whose connections real servers of both protocols open, wrong options, and lifetimes.

#include <fstream>
#include <iterator>
#include <memory>
#include <type_traits>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.hpp"

extern char **environ;

namespace {

using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<wslink::listener> &&
              std::is_nothrow_move_constructible_v<wslink::listener> &&
              std::is_nothrow_move_assignable_v<wslink::listener>);

// A real server that connects to a URL. It ends with its stdin.
class reverse_server {
public:
  reverse_server(int protocol, const std::string &url, const std::string &secret = "wslink-secret") {
    const std::string python = variable(protocol == 1 ? "WSLINK_TEST_PYTHON_V1" : "WSLINK_TEST_PYTHON_V2");
    std::vector<std::string> words = {python,     "-B",  variable("WSLINK_TEST_APP"), "--reverse-url", url,
                                      "--secret", secret};
    std::vector<char *> arguments;
    for (std::string &word : words)
      arguments.push_back(word.data());
    arguments.push_back(nullptr);
    int ends[2];
    MUST(pipe(ends) == 0);
    // The process gets one end only.
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    for (const int output : {1, 2})
      posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0);
    MUST(posix_spawn(&process_, python.c_str(), &actions, nullptr, arguments.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    stdin_ = ends[1];
  }
  reverse_server(const reverse_server &) = delete;
  reverse_server &operator=(const reverse_server &) = delete;
  ~reverse_server() {
    close(stdin_);
    waitpid(process_, nullptr, 0);
  }

private:
  static std::string variable(const char *name) {
    const char *value = std::getenv(name);
    if (!value)
      std::printf("%s is not set; with_servers.py sets it\n", name);
    MUST(value != nullptr);
    return value;
  }

  pid_t process_ = 0;
  int stdin_ = -1;
};

// Moves from an object that the test uses afterwards, which linters would reject.
template <class T>
T moved(T &from) {
  return std::move(from);
}

SERVER_TEST(a_server_opens_the_connection) {
  const wslink::listener listener;
  wslink::config config = listener.accept();
  config.secret("a secret").connect_timeout(60s);
  const wslink::session session(config);
  // Subscribed before there is a connection.
  int seen = 0;
  const auto subscription = session.subscribe("topic", [&](const wslink::publication &) { ++seen; });

  const reverse_server server(url.protocol, config.reverse_url(), "a secret");
  session.connect();
  CHECK(session.protocol() == static_cast<wslink::protocol>(url.protocol));
  CHECK_EQ(session.call("myprotocol.add", {1, 2, 3}).get<int>(), 6);
  const wslink::document bytes = session.call("test.bytes", 1'000'000, 5);
  CHECK(check::is_pattern(bytes.get<wslink::bytes_view>(), 1'000'000, 5));
  session.call("test.publish", "topic", 3);
  CHECK(session.dispatch_until([&] { return seen >= 3; }, 30s));
  CHECK_EQ(seen, 3);
  CHECK_EQ(listener.refused(), 0u);
  session.close();
  CHECK(session.state() == wslink::state::closed && !session.failure());
}

SERVER_TEST(the_next_server_continues_after_the_first) {
  wslink::listener_options options;
  options.address = "127.0.0.1";
  options.host = "localhost";
  const wslink::listener listener(options);
  wslink::config config = listener.accept();
  wslink::reconnect_policy policy;
  policy.first_delay = policy.longest_delay = 1ms;
  config.connect_timeout(60s).reconnect(policy);
  CHECK_EQ(config.reverse_url().find("ws://localhost:" + std::to_string(listener.port()) + "/"), 0u);
  const wslink::session session(config);
  int seen = 0;
  const auto subscription = session.subscribe("topic", [&](const wslink::publication &) { ++seen; });
  {
    const reverse_server first(url.protocol, config.reverse_url());
    session.connect();
  }
  CHECK(session.dispatch_until([&] { return session.state() != wslink::state::ready; }, 30s));
  const reverse_server second(url.protocol, config.reverse_url());
  CHECK(session.dispatch_until([&] { return session.state() == wslink::state::ready; }, 60s));
  session.call("test.publish", "topic", 2);
  CHECK(session.dispatch_until([&] { return seen >= 2; }, 30s));
}

SERVER_TEST(a_wrong_secret_is_told) {
  const wslink::listener listener;
  wslink::config config = listener.accept();
  config.secret("another secret").connect_timeout(60s);
  const wslink::session session(config);
  const reverse_server server(url.protocol, config.reverse_url(), "the secret");
  THROWS(auth, session.connect());
}

TEST(one_listener_serves_servers_of_both_protocols_at_once) {
  const wslink::listener listener;
  const wslink::config configs[] = {listener.accept().connect_timeout(60s), listener.accept().connect_timeout(60s)};
  CHECK(configs[0].reverse_url() != configs[1].reverse_url());
  const wslink::session one(configs[0]), two(configs[1]);
  const reverse_server second(2, configs[1].reverse_url()), first(1, configs[0].reverse_url());
  one.connect();
  two.connect();
  CHECK(one.protocol() == wslink::protocol::v1 && two.protocol() == wslink::protocol::v2);
  for (const wslink::session *session : {&one, &two})
    CHECK_EQ(session->call("myprotocol.add", {1, 2, 3}).get<int>(), 6);
}

std::string content_of(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

SERVER_TEST(a_listener_with_a_certificate_speaks_tls) {
  char folder[] = "/tmp/wslink-listener-XXXXXX";
  MUST(mkdtemp(folder) != nullptr);
  const std::string files = folder;
  const std::string make = "cd " + files +
                           " && openssl req -x509 -newkey rsa:2048 -noenc -days 2 -subj /CN=localhost -addext "
                           "subjectAltName=DNS:localhost -keyout key.pem -out chain.pem 2>/dev/null"
                           " && openssl pkcs12 -export -passout pass:word -inkey key.pem -in chain.pem -out both.p12";
  MUST(std::system(make.c_str()) == 0);
  wslink::listener_options pem, pkcs12;
  pem.host = pkcs12.host = "localhost";
  pem.certificate_pem = content_of(files + "/chain.pem");
  pem.key_pem = content_of(files + "/key.pem");
  pkcs12.pkcs12 = content_of(files + "/both.p12");
  pkcs12.pkcs12_password = "another word";
  FAILS(argument, wslink::listener bad(pkcs12, &err); CHECK(!bad));
  pkcs12.pkcs12_password = "word";
  setenv("SSL_CERT_FILE", (files + "/chain.pem").c_str(), 1); // for the server
  for (const wslink::listener_options *options : {&pem, &pkcs12}) {
    const wslink::listener listener(*options);
    wslink::config config = listener.accept();
    CHECK_EQ(config.reverse_url().find("wss://localhost:"), 0u);
    const wslink::session session(config.connect_timeout(60s));
    const reverse_server server(url.protocol, config.reverse_url());
    session.connect();
    CHECK_EQ(session.call("myprotocol.add", {1, 2, 3}).get<int>(), 6);
  }
  unsetenv("SSL_CERT_FILE");
  for (const char *name : {"/key.pem", "/chain.pem", "/both.p12", ""})
    std::remove((files + name).c_str());
}

TEST(wrong_options_are_refused) {
  wslink::listener_options options;
  options.address = "localhost";
  THROWS(argument, wslink::listener(options));
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad && !bad.c_ptr() && bad.port() == 0));
  options.address = "0.0.0.0"; // needs a host
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad));
  options.host = "no host";
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad));
  options.host = std::string("a\0b", 3);
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad));
  options = {};
  options.certificate_pem = "no certificate";
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad));
  options.key_pem = "no key";
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad));
  options.pkcs12 = std::string("a\0b", 3);
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad));
  options.certificate_pem.clear();
  options.key_pem.clear();
  FAILS(argument, wslink::listener bad(options, &err); CHECK(!bad));

  const wslink::listener first;
  options = {};
  options.port = first.port();
  FAILS(system, wslink::listener second(options, &err); CHECK(!second));
  wslink::error err(wslink::code::state, "before");
  const wslink::listener good(&err);
  CHECK(!err && good && good.port() != first.port());
}

TEST(a_listener_moves_and_an_empty_one_fails) {
  wslink::listener first;
  const std::uint16_t port = first.port();
  wslink::listener second = moved(first);
  CHECK(!first && first.port() == 0 && first.refused() == 0 && second.port() == port);
  FAILS(null, const wslink::config none = first.accept(&err); CHECK(!none.c_ptr() && none.reverse_url().empty()));
  THROWS(null, first.accept());
  second = moved(second); // self-assignment
  CHECK_EQ(second.port(), port);
  first = wslink::listener::from_c(second.release());
  CHECK(!second && first.port() == port);
  first = wslink::listener(); // ends the other one
  CHECK(first && first.port() != 0);

  // A config of a URL has none for servers.
  CHECK(wslink::config("ws://localhost/ws").reverse_url().empty());
}

TEST(configs_and_sessions_outlive_the_listener) {
  auto listener = std::make_unique<wslink::listener>();
  auto config = std::make_unique<wslink::config>(listener->accept());
  wslink::config copy = *config;
  CHECK_EQ(copy.reverse_url(), config->reverse_url());
  const std::string url = config->reverse_url();
  listener.reset();
  CHECK_EQ(config->reverse_url(), url);
  auto session = std::make_unique<wslink::session>(config->connect_timeout(60s));
  config.reset();
  copy = wslink::config("ws://localhost/ws");
  {
    const reverse_server server(2, url);
    session->connect();
    CHECK_EQ(session->call("myprotocol.add", {1, 2, 3}).get<int>(), 6);
    session.reset();
  }
  // A session that waits is destroyed at once.
  const wslink::listener other;
  session = std::make_unique<wslink::session>(other.accept());
  session->begin_connect();
  session.reset();
}

TEST(nobody_comes) {
  const wslink::listener listener;
  wslink::config config = listener.accept();
  config.connect_timeout(50ms);
  const wslink::session session(config);
  wslink::error err;
  session.connect(&err);
  CHECK(err.code() == wslink::code::timeout && err.stage() == wslink::stage::connect && err.is_retriable());
  CHECK(std::strstr(err.message(), "--reverse-url"));
  const std::string url = config.reverse_url();
  CHECK(!std::strstr(err.message(), url.c_str() + url.rfind('/') + 1)); // the token is a secret
}

} // namespace
