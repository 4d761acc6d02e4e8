/*
 * Servers that a session starts, without a real server: null pointers, invalid options, callbacks and their user data,
 * and freeing in every order. cpp/test_servers.cpp has the real servers.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static wslink_process *describe(const char *script) {
  const char *words[3] = {"sh", "-c", NULL};
  wslink_process *process = NULL;
  words[2] = script;
  SUCCEEDS(wslink_process_new(words, 3, &process, &err));
  MUST(process != NULL);
  return process;
}

static wslink_config *starting(wslink_process *process) {
  wslink_config *config = NULL;
  SUCCEEDS(wslink_config_new_starting(process, &config, &err));
  MUST(config != NULL);
  return config;
}

static int drops;
static void count_drop(void *user) {
  (void)user;
  drops++;
}

static int lines;
static char last_line[64];
static void on_line(void *user, const char *line, bool on_error) {
  CHECK(user == &lines);
  CHECK(!on_error);
  lines++;
  snprintf(last_line, sizeof last_line, "%s", line);
}

static void null_pointers(void) {
  const char *words[2] = {"sh", NULL};
  wslink_process *process = (wslink_process *)&process;
  wslink_config *config = (wslink_config *)&config;

  FAILS(WSLINK_ERR_NULL, wslink_process_new(NULL, 1, &process, &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_new(words, 1, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_new(words, 2, &process, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_process_new(words, 0, &process, &err));
  CHECK_INT(wslink_process_new(words, 0, &process, NULL), WSLINK_ERR_ARGUMENT);
  CHECK(process == (wslink_process *)&process);
  FAILS(WSLINK_ERR_NULL, wslink_config_new_starting(NULL, &config, &err));
  CHECK(config == (wslink_config *)&config);
  FAILS(WSLINK_ERR_NULL, wslink_process_set_environment(NULL, "a", "b", &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_folder(NULL, "/", &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_reach(NULL, WSLINK_REACH_REVERSE, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_path(NULL, "/ws", &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_end_timeout(NULL, 1, &err));
  drops = 0;
  FAILS(WSLINK_ERR_NULL, wslink_process_on_line(NULL, on_line, NULL, count_drop, &err));
  CHECK_INT(drops, 1);
  CHECK_INT(wslink_process_id(NULL), 0);
  wslink_process_end(NULL);
  wslink_process_free(NULL);

  process = describe("exit");
  FAILS(WSLINK_ERR_NULL, wslink_config_new_starting(process, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_environment(process, NULL, "b", &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_environment(process, "a", NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_folder(process, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_set_path(process, NULL, &err));
  FAILS(WSLINK_ERR_NULL, wslink_process_on_line(process, NULL, NULL, count_drop, &err));
  CHECK_INT(drops, 2);
  CHECK_INT(wslink_process_id(process), 0);
  wslink_process_end(process);
  wslink_process_free(process);
}

static void bad_options(void) {
  wslink_process *process = describe("exit");
  wslink_config *config;
  FAILS(WSLINK_ERR_ARGUMENT, wslink_process_set_environment(process, "", "b", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_process_set_environment(process, "a=", "b", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_process_set_path(process, "ws", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_process_set_reach(process, 3, NULL, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_process_set_reach(process, -1, NULL, &err));
  SUCCEEDS(wslink_process_set_reach(process, WSLINK_REACH_CHOSEN_PORT, NULL, &err));
  SUCCEEDS(wslink_process_set_reach(process, WSLINK_REACH_PRINTED_PORT, "READY ", &err));
  SUCCEEDS(wslink_process_set_reach(process, WSLINK_REACH_REVERSE, NULL, &err));
  config = starting(process);
  FAILS(WSLINK_ERR_STATE, wslink_process_set_path(process, "/ws", &err));
  wslink_config_free(config);
  wslink_process_free(process);
}

static void its_lines_and_its_end_are_told(void) {
  wslink_process *process = describe("echo one; echo $WORD; pwd; exit 9");
  wslink_config *config;
  wslink_session *session = NULL;
  wslink_error *why = NULL;
  drops = lines = 0;
  SUCCEEDS(wslink_process_set_environment(process, "WORD", "first", &err));
  SUCCEEDS(wslink_process_set_environment(process, "WORD", "second", &err));
  SUCCEEDS(wslink_process_set_folder(process, "/", &err));
  SUCCEEDS(wslink_process_set_end_timeout(process, 1000, &err));
  SUCCEEDS(wslink_process_on_line(process, on_line, &lines, count_drop, &err));
  config = starting(process);
  CHECK_INT(wslink_session_new(config, &session, NULL), WSLINK_OK);
  CHECK_INT(wslink_session_connect_wait(session, &why), WSLINK_ERR_CONNECT);
  MUST(why != NULL);
  CHECK(strstr(wslink_error_message(why), "exit status: 9") != NULL);
  CHECK(strstr(wslink_error_message(why), "one / second / /") != NULL);
  wslink_error_free(why);
  CHECK_INT(lines, 3);
  CHECK(strcmp(last_line, "/") == 0);
  wslink_session_free(session);
  wslink_config_free(config);
  CHECK_INT(drops, 0);
  wslink_process_free(process);
  CHECK_INT(drops, 1);
}

static void signals_that_the_application_ignores_end_a_server(void) {
  wslink_process *process = describe("kill -TERM $$; echo survived; exit 3");
  wslink_config *config = starting(process);
  wslink_session *session = NULL;
  wslink_error *why = NULL;
  signal(SIGTERM, SIG_IGN);
  CHECK_INT(wslink_session_new(config, &session, NULL), WSLINK_OK);
  CHECK_INT(wslink_session_connect_wait(session, &why), WSLINK_ERR_CONNECT);
  signal(SIGTERM, SIG_DFL);
  MUST(why != NULL);
  CHECK(strstr(wslink_error_message(why), "signal: 15") != NULL);
  wslink_error_free(why);
  wslink_session_free(session);
  wslink_config_free(config);
  wslink_process_free(process);
}

static void other_clients_learn_where_it_is(void) {
  wslink_process *process = describe("exec sleep 1000");
  wslink_config *config;
  wslink_session *session = NULL;
  char url[64] = "x", file[256] = "x", secret[64] = "";
  size_t size;
  FILE *content;
  SUCCEEDS(wslink_process_set_reach(process, WSLINK_REACH_CHOSEN_PORT, NULL, &err));
  SUCCEEDS(wslink_process_set_path(process, "/other", &err));
  SUCCEEDS(wslink_process_set_environment(process, "FILE", "{secret_file}", &err));
  CHECK_INT(wslink_process_url(NULL, url, sizeof url), 0);
  CHECK_TEXT(url, "");
  CHECK_INT(wslink_process_secret_file(NULL, file, sizeof file), 0);
  CHECK_INT(wslink_process_url(process, NULL, 0), 0);
  config = starting(process);
  CHECK_INT(wslink_process_url(process, NULL, 0), 0);
  CHECK_INT(wslink_session_new(config, &session, NULL), WSLINK_OK);
  CHECK_INT(wslink_session_connect(session, NULL), WSLINK_OK);
  for (int ms = 0; ms < 30000 && wslink_process_id(process) == 0; ms++) {
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
  }
  size = wslink_process_url(process, url, sizeof url);
  CHECK_INT(size, strlen(url));
  CHECK(strncmp(url, "ws://127.0.0.1:", 15) == 0 && strstr(url, "/other") != NULL);
  size = wslink_process_secret_file(process, file, sizeof file);
  CHECK_INT(size, strlen(file));
  content = fopen(file, "r");
  MUST(content != NULL);
  CHECK(fgets(secret, sizeof secret, content) != NULL);
  fclose(content);
  CHECK_INT(strlen(secret), 32);
  wslink_process_end(process);
  CHECK_INT(wslink_process_url(process, NULL, 0), 0);
  CHECK_INT(wslink_process_secret_file(process, NULL, 0), 0);
  CHECK(fopen(file, "r") == NULL);
  wslink_session_free(session);
  wslink_config_free(config);
  wslink_process_free(process);
}

static void freed_in_any_order(void) {
  for (int order = 0; order < 6; order++) {
    wslink_process *process = describe("exec sleep 1000");
    wslink_config *config = starting(process);
    wslink_session *session = NULL;
    uint32_t id = 0;
    CHECK_INT(wslink_session_new(config, &session, NULL), WSLINK_OK);
    CHECK_INT(wslink_session_connect(session, NULL), WSLINK_OK);
    for (int ms = 0; ms < 30000 && id == 0; ms++) {
      const struct timespec pause = {0, 1000000};
      nanosleep(&pause, NULL);
      id = wslink_process_id(process);
    }
    MUST(id != 0 && kill((pid_t)id, 0) == 0);
    for (int step = 0; step < 3; step++) {
      switch ((order / 2 + (order % 2 ? step : 2 - step)) % 3) {
      case 0:
        wslink_process_free(process);
        break;
      case 1:
        wslink_config_free(config);
        break;
      default:
        wslink_session_free(session);
        break;
      }
      CHECK_INT(kill((pid_t)id, 0) == 0, step < 2);
    }
  }
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(null_pointers),
      TEST(bad_options),
      TEST(its_lines_and_its_end_are_told),
      TEST(signals_that_the_application_ignores_end_a_server),
      TEST(other_clients_learn_where_it_is),
      TEST(freed_in_any_order),
  };
  return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
