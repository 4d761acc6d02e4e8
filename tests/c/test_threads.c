/* One session, many threads. */
#define _GNU_SOURCE
#include "check.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS = 8, CALLS = 100 };

typedef struct worker {
  pthread_t thread;
  wslink_session *session;
  int number;
  probe *probe;
  int accepted;
  int result;
} worker;

static void start(worker *w, void *(*run)(void *)) { MUST(pthread_create(&w->thread, NULL, run, w) == 0); }
static void join(worker *w) { MUST(pthread_join(w->thread, NULL) == 0); }

static void *call_and_wait(void *of) {
  worker *w = of;
  for (int i = 0; i < CALLS; i++) {
    unsigned char data[1000];
    const wslink_document *reply = NULL;
    wslink_args *args = wslink_args_new();
    wslink_value list;
    wslink_bytes bytes = {NULL, 0};
    int64_t number = -1, round = -1;
    memset(data, w->number * 16 + i % 16, sizeof data);
    SUCCEEDS(wslink_args_add_int(args, w->number, &err));
    SUCCEEDS(wslink_args_add_int(args, i, &err));
    SUCCEEDS(wslink_args_add_bytes(args, data, sizeof data, &err));
    SUCCEEDS(wslink_session_call_wait(w->session, str("test.echo"), args, NULL, &reply, &err));
    list = find(wslink_document_result(reply), "args");
    CHECK(wslink_value_get_int(at(list, 0), &number) && number == w->number);
    CHECK(wslink_value_get_int(at(list, 1), &round) && round == i);
    CHECK(wslink_value_get_bytes(at(list, 2), &bytes) && bytes.len == sizeof data &&
          memcmp(bytes.ptr, data, sizeof data) == 0);
    wslink_document_unref(reply);
    wslink_args_free(args);
  }
  return NULL;
}

static void blocking_calls_from_eight_threads(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  wslink_stats stats = WSLINK_STATS_INIT;
  worker w[THREADS];
  for (int i = 0; i < THREADS; i++) {
    w[i].session = session;
    w[i].number = i;
    start(&w[i], call_and_wait);
  }
  for (int i = 0; i < THREADS; i++) {
    join(&w[i]);
  }
  SUCCEEDS(wslink_session_stats(session, &stats, &err));
  CHECK_INT(stats.calls, THREADS * CALLS);
  CHECK_INT(stats.malformed, 0);
  CHECK_INT(stats.unknown_replies, 0);
  CHECK_INT(stats.late_replies, 0);
  if (protocol == 2) {
    /* With protocol 1, attachments are kept for later messages, up to a limit. */
    CHECK_INT(stats.evicted, 0);
  }
  wslink_session_free(session);
}

static void *call_many(void *of) {
  worker *w = of;
  for (int i = 0; i < CALLS; i++) {
    begin_call(w->session, "test.echo", "[1, 2, 3]", w->probe);
  }
  return NULL;
}

static void *dispatch_some(void *of) {
  worker *w = of;
  while (probe_drops(w->probe) < THREADS * CALLS) {
    /* With a timeout, because another thread may run the last callback. */
    SUCCEEDS(wslink_session_dispatch(w->session, 7, 20, &err));
  }
  return NULL;
}

static void calls_from_eight_threads_dispatched_by_two(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  worker w[THREADS], dispatcher[2];
  probe p;
  probe_init(&p);
  for (int i = 0; i < THREADS; i++) {
    w[i].session = session;
    w[i].probe = &p;
    start(&w[i], call_many);
  }
  for (int i = 0; i < 2; i++) {
    dispatcher[i] = w[0];
    start(&dispatcher[i], dispatch_some);
  }
  for (int i = 0; i < THREADS; i++) {
    join(&w[i]);
  }
  join(&dispatcher[0]);
  join(&dispatcher[1]);
  CHECK_INT(probe_calls(&p), THREADS * CALLS);
  wslink_session_free(session);
  CHECK_INT(probe_drops(&p), THREADS * CALLS);
  p.calls_after_drop = 0; /* all calls share the probe */
  probe_end(&p, THREADS * CALLS);
}

/* Each call has its own probe, which must see exactly one completion. */
static void *call_and_cancel(void *of) {
  worker *w = of;
  for (int i = 0; i < CALLS; i++) {
    probe p;
    uint64_t id;
    bool cancelled;
    probe_init(&p);
    id = begin_call(w->session, "test.echo", "[]", &p);
    cancelled = wslink_session_cancel(w->session, id);
    probe_wait_drops(&p, 1);
    CHECK_INT(p.calls, 1);
    CHECK_INT(p.last, cancelled ? WSLINK_ERR_CANCELLED : WSLINK_OK);
    probe_end(&p, 1);
  }
  return NULL;
}

static void cancel_races_with_the_reply(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_IO_THREAD);
  worker w[4];
  for (int i = 0; i < 4; i++) {
    w[i].session = session;
    start(&w[i], call_and_cancel);
  }
  for (int i = 0; i < 4; i++) {
    join(&w[i]);
  }
  wslink_session_free(session);
}

static void *free_it(void *of) {
  worker *w = of;
  wslink_session_free(w->session);
  w->result = probe_calls(w->probe);
  return NULL;
}

static void *dispatch_the_call(void *of) {
  worker *w = of;
  do {
    w->result = wslink_session_dispatch(w->session, 1, -1, NULL);
  } while (w->result > 0 && probe_calls(w->probe) == 0);
  return NULL;
}

static void free_waits_for_a_callback_on_another_thread(void) {
  for (int32_t delivery = WSLINK_DELIVERY_QUEUED; delivery <= WSLINK_DELIVERY_IO_THREAD; delivery++) {
    worker dispatcher, freer;
    probe p;
    memset(&dispatcher, 0, sizeof dispatcher);
    probe_init(&p);
    p.hold = true;
    dispatcher.session = ready_session(protocol, delivery);
    dispatcher.probe = &p;
    freer = dispatcher;
    begin_call(dispatcher.session, "test.echo", "[]", &p);
    if (delivery == WSLINK_DELIVERY_QUEUED) {
      start(&dispatcher, dispatch_the_call);
    }
    probe_wait_inside(&p);
    start(&freer, free_it);
    probe_let_go(&p);
    join(&freer);
    CHECK_INT(freer.result, 1); /* the callback had returned before free did */
    CHECK_INT(probe_drops(&p), 1);
    if (delivery == WSLINK_DELIVERY_QUEUED) {
      join(&dispatcher);
      /* The callback may have returned before free stopped the session. */
      CHECK(dispatcher.result == 1 || dispatcher.result == WSLINK_ERR_CLOSED);
    }
    probe_end(&p, 1);
  }
}

static void *unsubscribe_it(void *of) {
  worker *w = of;
  SUCCEEDS(wslink_session_unsubscribe(w->session, w->probe->id, &err));
  w->result = probe_calls(w->probe);
  return NULL;
}

static void unsubscribe_waits_for_a_callback_on_another_thread(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_IO_THREAD);
  worker w;
  probe p, call;
  probe_init(&p);
  probe_init(&call);
  memset(&w, 0, sizeof w);
  p.hold = true;
  w.session = session;
  w.probe = &p;
  SUCCEEDS(wslink_session_subscribe(session, str("t"), NULL, on_publication, &p, on_drop, &p.id, &err));
  begin_call(session, "test.publish", "[\"t\", 1]", &call);
  probe_wait_inside(&p);
  start(&w, unsubscribe_it);
  probe_let_go(&p);
  join(&w);
  CHECK_INT(w.result, 1);
  CHECK_INT(probe_drops(&p), 1);
  wslink_session_free(session);
  probe_end(&p, 1);
  probe_end(&call, 1);
}

static void *dispatch_without_events(void *of) {
  worker *w = of;
  __sync_lock_test_and_set(&w->accepted, (int)syscall(SYS_gettid));
  w->result = wslink_session_dispatch(w->session, 0, -1, NULL);
  return NULL;
}

/* Whether a thread of this process sleeps. */
static bool sleeps(int thread) {
  char path[64], state = 0;
  FILE *file;
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
  file = fopen(path, "r");
  MUST(file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1);
  fclose(file);
  return state == 'S';
}

/* A thread that waits in dispatch does not block free, and gets an error. */
static void free_ends_a_dispatch_that_waits(void) {
  worker w;
  int thread;
  memset(&w, 0, sizeof w);
  w.session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  /* The changes of state are queued before this reply. */
  wslink_document_unref(call_json(w.session, "test.echo", "[]"));
  while (wslink_session_dispatch(w.session, 0, 0, NULL) > 0) {
  }
  start(&w, dispatch_without_events);
  do {
    sched_yield();
    thread = __sync_fetch_and_add(&w.accepted, 0);
  } while (!thread || !sleeps(thread));
  wslink_session_free(w.session);
  join(&w);
  CHECK_INT(w.result, WSLINK_ERR_CLOSED);
}

static void *call_until_refused(void *of) {
  worker *w = of;
  int32_t code;
  do {
    code = wslink_session_call(w->session, str("test.echo"), NULL, NULL, on_completion, w->probe, on_drop, NULL, NULL);
    w->accepted += code == WSLINK_OK;
    w->result++; /* each attempt drops its data once */
  } while (code == WSLINK_OK);
  CHECK_INT(code, WSLINK_ERR_CLOSED);
  return NULL;
}

static void close_races_with_calls(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_IO_THREAD);
  worker w[4];
  int accepted = 0, tries = 0;
  probe p;
  probe_init(&p);
  for (int i = 0; i < 4; i++) {
    memset(&w[i], 0, sizeof w[i]);
    w[i].session = session;
    w[i].probe = &p;
    start(&w[i], call_until_refused);
  }
  probe_wait_calls(&p, 20);
  SUCCEEDS(wslink_session_close(session, 1000, &err));
  for (int i = 0; i < 4; i++) {
    join(&w[i]);
    accepted += w[i].accepted;
    tries += w[i].result;
  }
  wslink_session_free(session);
  CHECK_INT(probe_calls(&p), accepted);
  p.calls_after_drop = 0; /* all calls share the probe */
  probe_end(&p, tries);
}

/* Threads share documents and buffers: they read, reference and release them at the same time. */
static void *read_and_unref(void *of) {
  worker *w = of;
  const wslink_document *document = w->probe->document;
  for (int i = 0; i < 1000; i++) {
    wslink_bytes bytes = {NULL, 0};
    const wslink_buffer *buffer = NULL;
    wslink_document_ref(document);
    CHECK(wslink_value_get_bytes(wslink_document_result(document), &bytes) && bytes.len == 5000);
    CHECK(bytes.ptr[i] == pattern_at((size_t)i, 9));
    CHECK(wslink_value_get_buffer(wslink_document_result(document), &buffer));
    wslink_document_unref(document);
    wslink_buffer_unref(buffer);
  }
  return NULL;
}

static void documents_are_shared_by_threads(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  worker w[4];
  probe p;
  probe_init(&p);
  begin_call(session, "test.bytes", "[5000, 9]", &p);
  dispatch_until(session, &p, 1);
  wslink_session_free(session);
  for (int i = 0; i < 4; i++) {
    w[i].probe = &p;
    start(&w[i], read_and_unref);
  }
  for (int i = 0; i < 4; i++) {
    join(&w[i]);
  }
  probe_end(&p, 1);
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(blocking_calls_from_eight_threads),
      TEST(calls_from_eight_threads_dispatched_by_two),
      TEST(cancel_races_with_the_reply),
      TEST(free_waits_for_a_callback_on_another_thread),
      TEST(unsubscribe_waits_for_a_callback_on_another_thread),
      TEST(free_ends_a_dispatch_that_waits),
      TEST(close_races_with_calls),
      TEST(documents_are_shared_by_threads),
  };
  return run_tests_twice(argc, argv, tests, sizeof tests / sizeof *tests);
}
