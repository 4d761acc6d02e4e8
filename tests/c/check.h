/* Shared by all C tests: checks that count failures, a test runner, and probes that count callbacks. */
#ifndef WSLINK_TESTS_CHECK_H
#define WSLINK_TESTS_CHECK_H

#include <pthread.h>
#include <wslink.h>

/* Checks may be used on any thread. A failed check is printed and counted; the test goes on. */
#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(actual, expected)                                                                                    \
  check_int((long long)(actual), (long long)(expected), #actual " == " #expected, __FILE__, __LINE__)
#define CHECK_TEXT(actual, expected) check_text((actual), (expected), #actual, __FILE__, __LINE__)
/* `call` passes the variable `err` as its last argument. It must return this code and set a matching error object. */
#define FAILS(code, call)                                                                                              \
  do {                                                                                                                 \
    wslink_error *err = NULL;                                                                                          \
    int32_t returned = (call);                                                                                         \
    check_failure(returned, err, (code), #call, __FILE__, __LINE__);                                                   \
    wslink_error_free(err);                                                                                            \
  } while (0)
/* `call` passes the variable `err` as its last argument. It must succeed. */
#define SUCCEEDS(call)                                                                                                 \
  do {                                                                                                                 \
    wslink_error *err = NULL;                                                                                          \
    int32_t returned = (call);                                                                                         \
    check_success(returned, err, #call, __FILE__, __LINE__);                                                           \
    wslink_error_free(err);                                                                                            \
  } while (0)
/* For preconditions of the rest of a test: prints and ends the program. */
#define MUST(condition) must((condition), #condition, __FILE__, __LINE__)

bool check_that(bool condition, const char *what, const char *file, int line);
bool check_int(long long actual, long long expected, const char *what, const char *file, int line);
bool check_text(const char *actual, const char *expected, const char *what, const char *file, int line);
bool check_failure(int32_t code, const wslink_error *err, int32_t expected, const char *what, const char *file,
                   int line);
bool check_success(int32_t code, const wslink_error *err, const char *what, const char *file, int line);
void must(bool condition, const char *what, const char *file, int line);

typedef struct test {
  const char *name;
  void (*run)(void);
} test;
#define TEST(function)                                                                                                 \
  { #function, function }

/* Runs all tests, or those named by the arguments, and returns the exit status. */
int run_tests(int argc, char **argv, const test *tests, size_t count);

/* Runs a test with the variable `protocol` set to 1 and then to 2. */
int run_tests_twice(int argc, char **argv, const test *tests, size_t count);
extern int protocol;

/* A text view, and one that is not UTF-8. */
wslink_str str(const char *text);
wslink_str bad_utf8(void);

/* Counts the events of a callback, on any thread. It is the `user` data of all callbacks below. */
typedef struct probe {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int calls;
  int drops;
  int calls_after_drop;
  int32_t last;                    /* the last state, or the code of the last error */
  pthread_t thread;                /* the thread of the last call */
  const wslink_document *document; /* of the last call, referenced */
  void (*act)(struct probe *);     /* runs inside the callback, if set */
  void *context;                   /* for act */
  wslink_session *session;         /* for act */
  uint64_t id;                     /* for act */
  bool hold;                       /* the callback waits until this is false */
  bool inside;                     /* whether it waits now */
} probe;

void probe_init(probe *p);
/* Releases what the probe holds. The probe must have been dropped `drops` times. */
void probe_end(probe *p, int drops);
int probe_calls(probe *p);
int probe_drops(probe *p);
void probe_wait_calls(probe *p, int at_least);
void probe_wait_drops(probe *p, int at_least);
void probe_wait_inside(probe *p);
void probe_let_go(probe *p);

void on_completion(void *user, const wslink_document *reply, const wslink_error *error);
void on_publication(void *user, wslink_str topic, const wslink_document *message, const wslink_error *error);
void on_state(void *user, const wslink_state_change *change);
bool on_reconnect(void *user, const wslink_error *reason, uint32_t attempt);
void on_progress(void *user, const wslink_progress *progress);
void on_wakeup(void *user);
void on_log(void *user, int32_t level, const char *line);
void on_drop(void *user);

/* The URL of the real server of a protocol, 1 or 2. */
const char *server_url(int of);
/* A configuration for that server, and a ready session. */
wslink_config *new_config(int of);
wslink_session *ready_session(int of, int32_t delivery);
/* Creates a session, and frees the configuration. */
wslink_session *session_of(wslink_config *config);

/* Calls with arguments in JSON text and returns the reply; a failure ends the program. */
const wslink_document *call_json(const wslink_session *session, const char *method, const char *json);
/* Makes a call with arguments in JSON text that completes into a probe. */
uint64_t begin_call(const wslink_session *session, const char *method, const char *json, probe *p);
/* Dispatches until the probe was called `calls` times. */
void dispatch_until(const wslink_session *session, probe *p, int calls);

wslink_value find(wslink_value map, const char *key);
wslink_value at(wslink_value array, size_t index);
/* Whether the data is that of test.bytes. */
bool is_pattern(wslink_bytes data, size_t size, unsigned seed);
unsigned char pattern_at(size_t index, unsigned seed);

#endif
