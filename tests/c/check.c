#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static bool failed(const char *what, const char *file, int line, const char *detail) {
  __sync_fetch_and_add(&failures, 1);
  printf("%s:%d: failed: %s%s\n", file, line, what, detail);
  fflush(stdout);
  return false;
}

bool check_that(bool condition, const char *what, const char *file, int line) {
  return condition || failed(what, file, line, "");
}

bool check_int(long long actual, long long expected, const char *what, const char *file, int line) {
  char detail[64];
  if (actual == expected) {
    return true;
  }
  snprintf(detail, sizeof detail, ": %lld is not %lld", actual, expected);
  return failed(what, file, line, detail);
}

bool check_text(const char *actual, const char *expected, const char *what, const char *file, int line) {
  char detail[1024];
  if (actual && strcmp(actual, expected) == 0) {
    return true;
  }
  snprintf(detail, sizeof detail, ": \"%s\" is not \"%s\"", actual ? actual : "(null)", expected);
  return failed(what, file, line, detail);
}

bool check_failure(int32_t code, const wslink_error *err, int32_t expected, const char *what, const char *file,
                   int line) {
  char detail[1024];
  if (code == expected && wslink_error_code(err) == expected && wslink_error_message(err)[0] != '\0') {
    return true;
  }
  snprintf(detail, sizeof detail, ": returned %d with an error of code %d \"%s\", expected %d (%s)", (int)code,
           (int)wslink_error_code(err), wslink_error_message(err), (int)expected, wslink_code_text(expected));
  return failed(what, file, line, detail);
}

bool check_success(int32_t code, const wslink_error *err, const char *what, const char *file, int line) {
  char detail[1024];
  if (code >= 0 && !err) {
    return true;
  }
  snprintf(detail, sizeof detail, ": returned %d, \"%s\"", (int)code, wslink_error_message(err));
  return failed(what, file, line, detail);
}

void must(bool condition, const char *what, const char *file, int line) {
  if (!condition) {
    failed(what, file, line, "; cannot go on");
    exit(EXIT_FAILURE);
  }
}

int run_tests(int argc, char **argv, const test *tests, size_t count) {
  size_t ran = 0;
  for (size_t i = 0; i < count; i++) {
    bool chosen = argc < 2;
    for (int a = 1; a < argc; a++) {
      chosen = chosen || strcmp(argv[a], tests[i].name) == 0;
    }
    if (chosen) {
      int before = __sync_fetch_and_add(&failures, 0);
      printf("test %s\n", tests[i].name);
      fflush(stdout);
      tests[i].run();
      ran++;
      if (__sync_fetch_and_add(&failures, 0) != before) {
        printf("test %s FAILED\n", tests[i].name);
      }
    }
  }
  printf("%lu tests, %d failed checks\n", (unsigned long)ran, failures);
  return failures == 0 && ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int protocol;

int run_tests_twice(int argc, char **argv, const test *tests, size_t count) {
  int status = EXIT_SUCCESS;
  for (protocol = 1; protocol <= 2; protocol++) {
    printf("--- protocol %d\n", protocol);
    if (run_tests(argc, argv, tests, count) != EXIT_SUCCESS) {
      status = EXIT_FAILURE;
    }
  }
  return status;
}

wslink_str str(const char *text) { return wslink_str_from(text); }

wslink_str bad_utf8(void) {
  wslink_str view;
  view.ptr = "ab\xff";
  view.len = 3;
  return view;
}

void probe_init(probe *p) {
  memset(p, 0, sizeof *p);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->changed, NULL);
}

void probe_end(probe *p, int drops) {
  CHECK_INT(probe_drops(p), drops);
  CHECK_INT(p->calls_after_drop, 0);
  wslink_document_unref(p->document);
  pthread_cond_destroy(&p->changed);
  pthread_mutex_destroy(&p->lock);
}

static int get(probe *p, const int *field) {
  int value;
  pthread_mutex_lock(&p->lock);
  value = *field;
  pthread_mutex_unlock(&p->lock);
  return value;
}

static void wait_for(probe *p, const int *field, int at_least) {
  pthread_mutex_lock(&p->lock);
  while (*field < at_least) {
    pthread_cond_wait(&p->changed, &p->lock);
  }
  pthread_mutex_unlock(&p->lock);
}

int probe_calls(probe *p) { return get(p, &p->calls); }
int probe_drops(probe *p) { return get(p, &p->drops); }
void probe_wait_calls(probe *p, int at_least) { wait_for(p, &p->calls, at_least); }
void probe_wait_drops(probe *p, int at_least) { wait_for(p, &p->drops, at_least); }

void probe_wait_inside(probe *p) {
  pthread_mutex_lock(&p->lock);
  while (!p->inside) {
    pthread_cond_wait(&p->changed, &p->lock);
  }
  pthread_mutex_unlock(&p->lock);
}

void probe_let_go(probe *p) {
  pthread_mutex_lock(&p->lock);
  p->hold = false;
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->lock);
}

static void called(probe *p, int32_t what, const wslink_document *document) {
  void (*act)(probe *);
  pthread_mutex_lock(&p->lock);
  p->calls_after_drop += p->drops > 0;
  p->last = what;
  p->thread = pthread_self();
  if (document) {
    wslink_document_unref(p->document);
    p->document = wslink_document_ref(document);
  }
  while (p->hold) {
    p->inside = true;
    pthread_cond_broadcast(&p->changed);
    pthread_cond_wait(&p->changed, &p->lock);
  }
  p->inside = false;
  act = p->act;
  pthread_mutex_unlock(&p->lock);
  if (act) {
    act(p);
  }
  /* Count at the end, because a thread that waits for the call may then destroy the probe. */
  pthread_mutex_lock(&p->lock);
  p->calls++;
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->lock);
}

void on_completion(void *user, const wslink_document *reply, const wslink_error *error) {
  CHECK((reply == NULL) != (error == NULL));
  called(user, wslink_error_code(error), reply);
}

void on_publication(void *user, wslink_str topic, const wslink_document *message, const wslink_error *error) {
  CHECK(topic.ptr != NULL);
  CHECK((message == NULL) != (error == NULL));
  called(user, wslink_error_code(error), message);
}

void on_state(void *user, const wslink_state_change *change) { called(user, change->state, NULL); }

bool on_reconnect(void *user, const wslink_error *reason, uint32_t attempt) {
  CHECK(reason != NULL);
  called(user, (int32_t)attempt, NULL);
  return true;
}

void on_progress(void *user, const wslink_progress *progress) {
  CHECK(progress->bytes <= progress->total);
  called(user, progress->incoming, NULL);
}

void on_wakeup(void *user) { called(user, 0, NULL); }

void on_log(void *user, int32_t level, const char *line) {
  CHECK(line[0] != '\0');
  called(user, level, NULL);
}

void on_drop(void *user) {
  probe *p = user;
  pthread_mutex_lock(&p->lock);
  p->drops++;
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->lock);
}

const char *server_url(int of) {
  const char *name = of == 1 ? "WSLINK_TEST_URL_V1" : "WSLINK_TEST_URL_V2";
  const char *url = getenv(name);
  if (!url) {
    printf("%s is not set; run this by tests/c/with_servers.py\n", name);
    exit(EXIT_FAILURE);
  }
  return url;
}

wslink_config *new_config(int of) {
  wslink_config *config = NULL;
  MUST(wslink_config_new(server_url(of), &config, NULL) == WSLINK_OK);
  return config;
}

wslink_session *session_of(wslink_config *config) {
  wslink_session *session = NULL;
  MUST(wslink_session_new(config, &session, NULL) == WSLINK_OK);
  wslink_config_free(config);
  return session;
}

wslink_session *ready_session(int of, int32_t delivery) {
  wslink_config *config = new_config(of);
  wslink_session *session;
  SUCCEEDS(wslink_config_set_delivery(config, delivery, &err));
  session = session_of(config);
  SUCCEEDS(wslink_session_connect_wait(session, &err));
  MUST(wslink_session_state(session) == WSLINK_STATE_READY);
  CHECK_INT(wslink_session_protocol(session), of);
  return session;
}

const wslink_document *call_json(const wslink_session *session, const char *method, const char *json) {
  const wslink_document *reply = NULL;
  wslink_args *args = wslink_args_new();
  SUCCEEDS(wslink_args_add_json_array(args, str(json), &err));
  SUCCEEDS(wslink_session_call_wait(session, str(method), args, NULL, &reply, &err));
  MUST(reply != NULL);
  wslink_args_free(args);
  return reply;
}

uint64_t begin_call(const wslink_session *session, const char *method, const char *json, probe *p) {
  wslink_args *args = wslink_args_new();
  uint64_t id = 0;
  SUCCEEDS(wslink_args_add_json_array(args, str(json), &err));
  SUCCEEDS(wslink_session_call(session, str(method), args, NULL, on_completion, p, on_drop, &id, &err));
  wslink_args_free(args);
  return id;
}

void dispatch_until(const wslink_session *session, probe *p, int calls) {
  while (probe_calls(p) < calls) {
    SUCCEEDS(wslink_session_dispatch(session, 1, -1, &err));
  }
}

wslink_value find(wslink_value map, const char *key) {
  wslink_value value = {NULL, 0};
  CHECK(wslink_value_find(map, str(key), &value));
  return value;
}

wslink_value at(wslink_value array, size_t index) {
  wslink_value value = {NULL, 0};
  CHECK(wslink_value_at(array, index, &value));
  return value;
}

unsigned char pattern_at(size_t i, unsigned seed) {
  return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16) * 13 + seed);
}

bool is_pattern(wslink_bytes data, size_t size, unsigned seed) {
  if (data.len != size) {
    return false;
  }
  for (size_t i = 0; i < size; i++) {
    if (data.ptr[i] != pattern_at(i, seed)) {
      return false;
    }
  }
  return true;
}
