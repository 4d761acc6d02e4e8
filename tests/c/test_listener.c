/*
 * Listeners without a real server: null pointers, invalid options, what a configuration of a listener is, and freeing
 * in every order. cpp/test_listener.cpp has the real servers.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static wslink_listener *listening(void) {
  wslink_listener *listener = NULL;
  SUCCEEDS(wslink_listener_new(NULL, &listener, &err));
  MUST(listener != NULL && wslink_listener_port(listener) != 0);
  return listener;
}

static wslink_config *accepting(const wslink_listener *listener) {
  wslink_config *config = NULL;
  SUCCEEDS(wslink_config_new_accepting(listener, &config, &err));
  MUST(config != NULL);
  return config;
}

/* A TCP connection to this port, or -1. */
static int try_port(uint16_t port) {
  struct sockaddr_in address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  MUST(fd >= 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

static bool listens(uint16_t port) {
  int fd = try_port(port);
  if (fd >= 0) {
    close(fd);
  }
  return fd >= 0;
}

/* The status with which the listener answers a request to this path. */
static int answer(uint16_t port, const char *path) {
  char text[512];
  int status = 0;
  ssize_t n;
  int fd = try_port(port);
  MUST(fd >= 0);
  n = snprintf(
      text, sizeof text,
      "GET %s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      path);
  MUST(n > 0 && write(fd, text, (size_t)n) == n);
  n = read(fd, text, sizeof text - 1);
  MUST(n > 0);
  text[n] = '\0';
  CHECK_INT(sscanf(text, "HTTP/1.1 %d", &status), 1);
  close(fd);
  return status;
}

static void null_pointers(void) {
  wslink_listener *listener = (wslink_listener *)&listener;
  wslink_config *config = (wslink_config *)&config;
  char text[8] = "before";

  FAILS(WSLINK_ERR_NULL, wslink_listener_new(NULL, NULL, &err));
  CHECK_INT(wslink_listener_new(NULL, NULL, NULL), WSLINK_ERR_NULL);
  wslink_listener_free(NULL);
  CHECK_INT(wslink_listener_port(NULL), 0);
  CHECK_INT(wslink_listener_refused(NULL), 0);
  FAILS(WSLINK_ERR_NULL, wslink_config_new_accepting(NULL, &config, &err));
  CHECK(config == (wslink_config *)&config);
  CHECK_INT(wslink_config_reverse_url(NULL, text, sizeof text), 0);
  CHECK_TEXT(text, "");
  CHECK_INT(wslink_config_reverse_url(NULL, NULL, 0), 0);

  listener = listening();
  FAILS(WSLINK_ERR_NULL, wslink_config_new_accepting(listener, NULL, &err));
  CHECK_INT(wslink_listener_refused(listener), 0);
  wslink_listener_free(listener);
}

/* These options are refused with this code, and nothing is written. */
#define REFUSED(code)                                                                                                  \
  do {                                                                                                                 \
    FAILS(code, wslink_listener_new(&options, &listener, &err));                                                       \
    CHECK(listener == NULL);                                                                                           \
  } while (0)

static void bad_options(void) {
  static const wslink_listener_options defaults = WSLINK_LISTENER_OPTIONS_INIT;
  static const char *const addresses[] = {"", "localhost", "127.0.0.1:80", "256.0.0.1", "[::1]", " 127.0.0.1"};
  wslink_listener_options options = defaults;
  wslink_listener *listener = NULL;

  options.size = 0;
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.size = sizeof options.size - 1;
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.size = sizeof options - 1; /* a part of a pointer */
  REFUSED(WSLINK_ERR_ARGUMENT);
  options = defaults;

  for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
    options.address = addresses[i];
    REFUSED(WSLINK_ERR_ARGUMENT);
  }
  options.address = "\xff";
  REFUSED(WSLINK_ERR_UTF8);
  options.address = "0.0.0.0"; /* without a host */
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.address = "192.0.2.1"; /* not of this machine (RFC 5737) */
  REFUSED(WSLINK_ERR_SYSTEM);
  options = defaults;
  options.host = "no host";
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.host = "\xff";
  REFUSED(WSLINK_ERR_UTF8);

  /* A certificate and its key, or PKCS #12 and its password. */
  options = defaults;
  options.certificate_pem = "certificate";
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.key_pem = "key";
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.key_pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.certificate_pem = NULL;
  REFUSED(WSLINK_ERR_ARGUMENT);
  options = defaults;
  options.pkcs12_password = "password";
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.pkcs12.len = 7;
  REFUSED(WSLINK_ERR_NULL);
  options.pkcs12.ptr = (const uint8_t *)"nothing";
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.pkcs12_password = NULL;
  REFUSED(WSLINK_ERR_ARGUMENT);
  options.pkcs12.len = SIZE_MAX;
  REFUSED(WSLINK_ERR_ARGUMENT);
}

static void options_of_later_versions(void) {
  struct later {
    wslink_listener_options known;
    uint64_t unknown;
  } later = {WSLINK_LISTENER_OPTIONS_INIT, 7};
  wslink_listener *listener = NULL, *second = NULL;
  wslink_config *config;
  char url[128], expected[64];

  later.known.size = sizeof later;
  later.known.address = "0.0.0.0";
  later.known.host = "login.example";
  SUCCEEDS(wslink_listener_new(&later.known, &listener, &err));
  config = accepting(listener);
  snprintf(expected, sizeof expected, "ws://login.example:%d/", wslink_listener_port(listener));
  wslink_config_reverse_url(config, url, sizeof url);
  CHECK(strncmp(url, expected, strlen(expected)) == 0);
  wslink_config_free(config);

  /* Its port is in use. */
  later.known.port = wslink_listener_port(listener);
  FAILS(WSLINK_ERR_SYSTEM, wslink_listener_new(&later.known, &second, &err));
  CHECK(second == NULL);
  wslink_listener_free(listener);
}

static void the_url_is_copied(void) {
  wslink_listener *listener = listening();
  wslink_config *config = accepting(listener), *copy = NULL, *other = accepting(listener), *usual = NULL;
  char url[128], again[128], shorter[10];
  size_t length = wslink_config_reverse_url(config, NULL, 0);

  CHECK_INT(wslink_config_reverse_url(config, url, sizeof url), length);
  CHECK_INT(strlen(url), length);
  CHECK_INT(wslink_config_reverse_url(config, shorter, sizeof shorter), length);
  CHECK_TEXT(shorter, "ws://127.");
  CHECK_INT(wslink_config_reverse_url(config, shorter, 0), length);
  CHECK_TEXT(shorter, "ws://127.");
  /* That of a copy is the same, and that of another configuration is not. */
  SUCCEEDS(wslink_config_clone(config, &copy, &err));
  wslink_config_reverse_url(copy, again, sizeof again);
  CHECK_TEXT(again, url);
  CHECK_INT(wslink_config_reverse_url(other, again, sizeof again), length);
  CHECK(strcmp(again, url) != 0);
  /* A configuration for a server that is connected to has none. */
  SUCCEEDS(wslink_config_new("ws://localhost/ws", &usual, &err));
  CHECK_INT(wslink_config_reverse_url(usual, again, sizeof again), 0);
  CHECK_TEXT(again, "");

  /* Options about the way to the server are accepted, and do nothing. */
  SUCCEEDS(wslink_config_set_proxy(config, "http://proxy.invalid:1", &err));
  SUCCEEDS(wslink_config_add_header(config, "X-Test", "1", &err));
  SUCCEEDS(wslink_config_set_connect_timeout(config, 20, &err));
  {
    wslink_session *session = session_of(config);
    FAILS(WSLINK_ERR_TIMEOUT, wslink_session_connect_wait(session, &err));
    wslink_session_free(session);
  }
  wslink_config_free(usual);
  wslink_config_free(other);
  wslink_config_free(copy);
  wslink_listener_free(listener);
}

static bool renew(void *user, wslink_attempt *attempt, uint32_t number, const wslink_error *reason) {
  (void)number;
  CHECK(reason == NULL);
  FAILS(WSLINK_ERR_ARGUMENT, wslink_attempt_set_url(attempt, "ws://localhost/ws", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_attempt_set_header(attempt, "Cookie", "a=b", &err));
  SUCCEEDS(wslink_attempt_set_secret(attempt, "new", &err));
  ++*(int *)user;
  return false;
}

static void only_the_secret_is_renewed(void) {
  wslink_listener *listener = listening();
  wslink_config *config = accepting(listener);
  wslink_session *session;
  int attempts = 0;
  SUCCEEDS(wslink_config_before_attempt(config, renew, &attempts, NULL, &err));
  session = session_of(config);
  FAILS(WSLINK_ERR_CANCELLED, wslink_session_connect_wait(session, &err));
  CHECK_INT(attempts, 1);
  wslink_session_free(session);
  wslink_listener_free(listener);
}

static void strangers_are_refused_and_counted(void) {
  wslink_listener *listener = listening();
  wslink_config *config = accepting(listener);
  wslink_session *first, *second;
  wslink_config *copy = NULL;
  uint16_t port = wslink_listener_port(listener);
  char url[128];
  const char *path;

  wslink_config_reverse_url(config, url, sizeof url);
  path = strrchr(url, '/');
  CHECK_INT(answer(port, "/"), 404);
  CHECK_INT(answer(port, "/0123456789abcdef0123456789abcdef"), 404);
  CHECK_INT(wslink_listener_refused(listener), 2);

  /* Two sessions of one URL: each connection is for one of them. */
  SUCCEEDS(wslink_config_set_connect_timeout(config, 100, &err));
  SUCCEEDS(wslink_config_clone(config, &copy, &err));
  first = session_of(config);
  second = session_of(copy);
  SUCCEEDS(wslink_session_connect(first, &err));
  CHECK_INT(answer(port, path), 101);
  {
    wslink_error *err = NULL;
    CHECK(wslink_session_connect_wait(second, &err) < 0);
    CHECK(wslink_error_is_retriable(err));
    wslink_error_free(err);
  }
  wslink_session_free(first);
  wslink_session_free(second);
  /* The URL ends with its last session. */
  CHECK_INT(answer(port, path), 404);
  wslink_listener_free(listener);
  CHECK(!listens(port));
}

static void freed_in_any_order(void) {
  static const char *const orders[] = {"lcs", "lsc", "cls", "csl", "slc", "scl"};
  for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
    for (int connecting = 0; connecting <= 1; connecting++) {
      wslink_listener *listener = listening();
      wslink_config *config = accepting(listener);
      wslink_session *session = NULL;
      uint16_t port = wslink_listener_port(listener);
      int half_open = try_port(port);
      SUCCEEDS(wslink_session_new(config, &session, &err));
      if (connecting) {
        SUCCEEDS(wslink_session_connect(session, &err));
      }
      for (const char *what = orders[i]; *what; what++) {
        CHECK(listens(port));
        switch (*what) {
        case 'l':
          wslink_listener_free(listener);
          break;
        case 'c':
          wslink_config_free(config);
          break;
        default:
          wslink_session_free(session);
          break;
        }
      }
      /* The system may end a socket that listens shortly after it was closed. */
      for (int ms = 0; ms < 5000 && listens(port); ms += 10) {
        const struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL);
      }
      CHECK(!listens(port));
      close(half_open);
    }
  }
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(null_pointers),
      TEST(bad_options),
      TEST(options_of_later_versions),
      TEST(the_url_is_copied),
      TEST(only_the_secret_is_renewed),
      TEST(strangers_are_refused_and_counted),
      TEST(freed_in_any_order),
  };
  return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
