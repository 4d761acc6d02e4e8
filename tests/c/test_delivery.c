/*
 * Where and when callbacks run: dispatching, the descriptor, the wakeup function, the I/O thread. Freeing and
 * unsubscribing inside every kind of callback.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t subscribe(const wslink_session *session, const char *topic, int32_t policy, uint32_t capacity,
                          probe *p) {
  wslink_subscribe_options options = WSLINK_SUBSCRIBE_OPTIONS_INIT;
  uint64_t id = 0;
  options.policy = policy;
  options.capacity = capacity;
  SUCCEEDS(wslink_session_subscribe(session, str(topic), &options, on_publication, p, on_drop, &id, &err));
  return id;
}

static uint64_t messages_in(const wslink_session *session) {
  wslink_stats stats = WSLINK_STATS_INIT;
  SUCCEEDS(wslink_session_stats(session, &stats, &err));
  return stats.messages_in;
}

/* Lets the server publish on a topic; when this returns, the publications are queued. */
static void publish(const wslink_session *session, const char *topic, int count) {
  uint64_t expected = messages_in(session) + count + 1;
  char json[64];
  snprintf(json, sizeof json, "[\"%s\", %d]", topic, count);
  wslink_document_unref(call_json(session, "test.publish", json));
  /* A server of wslink 2 may reply before it publishes. */
  while (messages_in(session) < expected) {
    wslink_document_unref(call_json(session, "test.echo", "[]"));
    expected++;
  }
  /* The last publication may have been counted before it was queued, but it is queued before this reply. */
  wslink_document_unref(call_json(session, "test.echo", "[]"));
}

static bool readable(int fd, int timeout_ms) {
  struct pollfd p;
  p.fd = fd;
  p.events = POLLIN;
  return poll(&p, 1, timeout_ms) == 1 && (p.revents & POLLIN);
}

static void descriptor_is_level_triggered(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  int fd = wslink_session_descriptor(session, NULL);
  probe p, call;
  probe_init(&p);
  probe_init(&call);
  MUST(fd >= 0);
  CHECK_INT(wslink_session_descriptor(session, NULL), fd);
  while (wslink_session_dispatch(session, 0, 0, NULL) > 0) {
  }
  CHECK(!readable(fd, 0));

  subscribe(session, "level", WSLINK_POLICY_ALL, 0, &p);
  publish(session, "level", 3);
  CHECK(readable(fd, -1));
  CHECK(readable(fd, 0)); /* still readable, because nothing was dispatched */
  CHECK_INT(wslink_session_dispatch(session, 1, 0, NULL), 1);
  CHECK(readable(fd, 0)); /* two events are left */
  CHECK_INT(wslink_session_dispatch(session, 1, 0, NULL), 1);
  CHECK(readable(fd, 0));
  CHECK_INT(wslink_session_dispatch(session, 5, 0, NULL), 1);
  CHECK(!readable(fd, 0));
  CHECK_INT(wslink_session_dispatch(session, 0, 0, NULL), 0);
  CHECK_INT(probe_calls(&p), 3);

  /* A loop of poll() and dispatch only. */
  begin_call(session, "test.publish", "[\"level\", 2]", &call);
  while (probe_calls(&p) < 5 || probe_calls(&call) < 1) {
    CHECK(readable(fd, -1));
    SUCCEEDS(wslink_session_dispatch(session, 0, 0, &err));
  }
  CHECK(!readable(fd, 0));
  wslink_session_free(session);
  probe_end(&p, 1);
  probe_end(&call, 1);
}

static void descriptor_asked_for_when_something_waits(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  probe p;
  probe_init(&p);
  subscribe(session, "t", WSLINK_POLICY_ALL, 0, &p);
  publish(session, "t", 1);
  CHECK(readable(wslink_session_descriptor(session, NULL), 0));
  wslink_session_free(session);
  CHECK_INT(p.calls, 0); /* free does not deliver queued publications */
  probe_end(&p, 1);
}

static void wakeup_comes_once_until_dispatch(void) {
  wslink_config *config = new_config(protocol);
  wslink_session *session;
  probe wakeup, p;
  int before;
  probe_init(&wakeup);
  probe_init(&p);
  SUCCEEDS(wslink_config_on_wakeup(config, on_wakeup, &wakeup, on_drop, &err));
  session = session_of(config);
  SUCCEEDS(wslink_session_connect_wait(session, &err));
  subscribe(session, "t", WSLINK_POLICY_ALL, 0, &p);
  publish(session, "t", 1);
  while (wslink_session_dispatch(session, 0, 0, NULL) > 0) {
  }

  before = probe_calls(&wakeup);
  publish(session, "t", 3);
  publish(session, "t", 1);
  /* The queue was empty, then it was not: one wakeup, for any number of events. */
  probe_wait_calls(&wakeup, before + 1);
  CHECK_INT(probe_calls(&wakeup), before + 1);
  /* Some events were left: there is another wakeup. */
  CHECK_INT(wslink_session_dispatch(session, 2, 0, NULL), 2);
  CHECK_INT(probe_calls(&wakeup), before + 2);
  CHECK_INT(wslink_session_dispatch(session, 0, 0, NULL), 2);
  CHECK_INT(probe_calls(&wakeup), before + 2);
  CHECK_INT(wslink_session_dispatch(session, 0, 0, NULL), 0);
  CHECK_INT(probe_calls(&wakeup), before + 2);
  publish(session, "t", 1);
  probe_wait_calls(&wakeup, before + 3);
  wslink_session_free(session);
  probe_end(&wakeup, 1);
  probe_end(&p, 1);
}

static void policies(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  probe all, latest, last, limited;
  uint64_t ids[4], delivered = 0, dropped = 0;
  int64_t i = -1;
  probe_init(&all);
  probe_init(&latest);
  probe_init(&last);
  probe_init(&limited);
  ids[0] = subscribe(session, "t", WSLINK_POLICY_ALL, 0, &all);
  ids[1] = subscribe(session, "t", WSLINK_POLICY_LAST, 0, &latest);
  ids[2] = subscribe(session, "t", WSLINK_POLICY_LAST, 3, &last);
  ids[3] = subscribe(session, "t", WSLINK_POLICY_ALL, 2, &limited);
  publish(session, "t", 10);
  while (wslink_session_dispatch(session, 0, 0, NULL) > 0) {
  }
  CHECK_INT(probe_calls(&all), 10);
  CHECK_INT(probe_calls(&latest), 1);
  CHECK_INT(probe_calls(&last), 3);
  CHECK_INT(probe_calls(&limited), 2);
  CHECK(wslink_value_get_int(find(wslink_document_result(latest.document), "i"), &i) && i == 9);
  CHECK(wslink_value_get_int(find(wslink_document_result(last.document), "i"), &i) && i == 9);
  CHECK(wslink_value_get_int(find(wslink_document_result(limited.document), "i"), &i) && i == 1);
  for (int n = 0; n < 4; n++) {
    const uint64_t expected[] = {10, 1, 3, 2};
    SUCCEEDS(wslink_session_subscription_counts(session, ids[n], &delivered, &dropped, &err));
    CHECK_INT(delivered, expected[n]);
    CHECK_INT(dropped, 10 - expected[n]);
  }
  wslink_session_free(session);
  probe_end(&all, 1);
  probe_end(&latest, 1);
  probe_end(&last, 1);
  probe_end(&limited, 1);
}

static void topics_and_publish_errors(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  wslink_stats stats = WSLINK_STATS_INIT;
  probe colons, other;
  uint64_t unsubscribed;
  probe_init(&colons);
  probe_init(&other);
  subscribe(session, "a:b:c", WSLINK_POLICY_ALL, 0, &colons);
  subscribe(session, "a", WSLINK_POLICY_ALL, 0, &other);
  SUCCEEDS(wslink_session_stats(session, &stats, &err));
  unsubscribed = stats.unsubscribed;
  publish(session, "a:b:c", 1);
  wslink_document_unref(call_json(session, "test.publish", "[\"nobody\", 2]"));
  wslink_document_unref(call_json(session, "test.publish.bad", "[\"a:b:c\"]"));
  dispatch_until(session, &colons, 2);
  CHECK_INT(colons.last, WSLINK_ERR_REMOTE);
  CHECK_INT(probe_calls(&other), 0);
  do {
    wslink_document_unref(call_json(session, "test.echo", "[]"));
    SUCCEEDS(wslink_session_stats(session, &stats, &err));
  } while (stats.unsubscribed - unsubscribed < 2);
  CHECK_INT(stats.unsubscribed - unsubscribed, 2);
  wslink_session_free(session);
  probe_end(&colons, 1);
  probe_end(&other, 1);
}

/* The actions of callbacks. */
static void free_session(probe *p) { wslink_session_free(p->session); }

static void unsubscribe(probe *p) {
  SUCCEEDS(wslink_session_unsubscribe(p->session, p->id, &err));
  CHECK_INT(probe_drops(p), 0); /* it is dropped when the callback returns */
}

static void nested_dispatch(probe *p) { FAILS(WSLINK_ERR_REENTRANT, wslink_session_dispatch(p->session, 0, 0, &err)); }

static void blocking_call(probe *p) { wslink_document_unref(call_json(p->session, "test.echo", "[1]")); }

static void refused_on_the_io_thread(probe *p) {
  const wslink_document *reply = NULL;
  FAILS(WSLINK_ERR_REENTRANT, wslink_session_call_wait(p->session, str("test.echo"), NULL, NULL, &reply, &err));
  FAILS(WSLINK_ERR_REENTRANT, wslink_session_connect_wait(p->session, &err));
  FAILS(WSLINK_ERR_REENTRANT, wslink_session_close_wait(p->session, 1000, &err));
  FAILS(WSLINK_ERR_STATE, wslink_session_dispatch(p->session, 0, 0, &err));
  CHECK(reply == NULL);
}

static void nested_dispatch_is_refused(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_QUEUED);
  probe p, waits;
  probe_init(&p);
  probe_init(&waits);
  p.session = waits.session = session;
  p.act = nested_dispatch;
  waits.act = blocking_call;
  begin_call(session, "test.echo", "[]", &p);
  dispatch_until(session, &p, 1);
  begin_call(session, "test.echo", "[]", &waits);
  dispatch_until(session, &waits, 1);
  CHECK(pthread_equal(p.thread, pthread_self()));
  wslink_session_free(session);
  probe_end(&p, 1);
  probe_end(&waits, 1);
}

static void unsubscribe_in_its_own_callback(void) {
  for (int32_t delivery = WSLINK_DELIVERY_QUEUED; delivery <= WSLINK_DELIVERY_IO_THREAD; delivery++) {
    wslink_session *session = ready_session(protocol, delivery);
    probe p;
    probe_init(&p);
    p.session = session;
    p.act = unsubscribe;
    p.id = subscribe(session, "t", WSLINK_POLICY_ALL, 0, &p);
    if (delivery == WSLINK_DELIVERY_QUEUED) {
      publish(session, "t", 5);
      while (wslink_session_dispatch(session, 0, 0, NULL) > 0) {
      }
    } else {
      wslink_document_unref(call_json(session, "test.publish", "[\"t\", 5]"));
    }
    probe_wait_drops(&p, 1);
    CHECK_INT(probe_calls(&p), 1); /* not the four publications that arrived with it */
    wslink_session_free(session);
    probe_end(&p, 1);
  }
}

static void waiting_is_refused_on_the_io_thread(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_IO_THREAD);
  probe p;
  probe_init(&p);
  p.session = session;
  p.act = refused_on_the_io_thread;
  begin_call(session, "test.echo", "[]", &p);
  probe_wait_drops(&p, 1);
  CHECK(!pthread_equal(p.thread, pthread_self()));
  wslink_session_free(session);
  probe_end(&p, 1);
}

static void free_args(probe *p) { wslink_args_free(p->context); }

/* On the I/O thread a call may complete before the function that made it returns. The library must not use the
 * arguments after that, because the application may free them. Sanitizers detect such a use. */
static void a_completion_may_free_the_arguments(void) {
  wslink_session *session = ready_session(protocol, WSLINK_DELIVERY_IO_THREAD);
  for (int i = 0; i < 300; i++) {
    wslink_args *args = wslink_args_new();
    probe p;
    probe_init(&p);
    p.act = free_args;
    p.context = args;
    SUCCEEDS(wslink_args_add_int(args, i, &err));
    SUCCEEDS(wslink_session_call(session, str("test.echo"), args, NULL, on_completion, &p, on_drop, NULL, &err));
    probe_wait_drops(&p, 1);
    probe_end(&p, 1);
  }
  wslink_session_free(session);
}

/* Frees the session inside a callback and checks that nothing runs afterwards and everything is dropped. */
typedef enum kind { COMPLETION, PUBLICATION, STATE, PROGRESS } kind;

static void free_inside(kind which, int32_t delivery) {
  wslink_config *config = new_config(protocol);
  wslink_session *session;
  probe frees, pending, other;
  probe_init(&frees);
  probe_init(&pending);
  probe_init(&other);
  SUCCEEDS(wslink_config_set_delivery(config, delivery, &err));
  if (which == STATE) {
    SUCCEEDS(wslink_config_on_state(config, on_state, &frees, on_drop, &err));
  }
  if (which == PROGRESS) {
    SUCCEEDS(wslink_config_on_progress(config, on_progress, &frees, on_drop, &err));
  }
  session = session_of(config);
  frees.session = session;
  frees.act = free_session;
  subscribe(session, "other", WSLINK_POLICY_ALL, 0, &other);
  if (which == PUBLICATION) {
    subscribe(session, "t", WSLINK_POLICY_ALL, 0, &frees);
  }

  if (which == STATE) {
    SUCCEEDS(wslink_session_connect(session, &err));
  } else {
    SUCCEEDS(wslink_session_connect_wait(session, &err));
    switch (which) {
    case COMPLETION:
      begin_call(session, "test.echo", "[]", &frees);
      break;
    case PUBLICATION:
      begin_call(session, "test.publish", "[\"t\", 5]", &pending);
      break;
    default:
      begin_call(session, "test.bytes", "[3000000]", &pending);
    }
  }
  if (delivery == WSLINK_DELIVERY_QUEUED) {
    int32_t result;
    do {
      result = wslink_session_dispatch(session, 0, -1, NULL);
    } while (result > 0);
    CHECK_INT(result, WSLINK_ERR_CLOSED);
  }
  probe_wait_drops(&frees, 1);
  probe_wait_drops(&other, 1);
  if (which == PUBLICATION || which == PROGRESS) {
    probe_wait_drops(&pending, 1);
    CHECK_INT(probe_calls(&pending), 1);
  }
  CHECK_INT(probe_calls(&frees), 1);
  probe_end(&frees, 1);
  probe_end(&other, 1);
  probe_end(&pending, which == PUBLICATION || which == PROGRESS ? 1 : 0);
}

static void free_inside_a_completion(void) {
  free_inside(COMPLETION, WSLINK_DELIVERY_QUEUED);
  free_inside(COMPLETION, WSLINK_DELIVERY_IO_THREAD);
}

static void free_inside_a_publication(void) {
  free_inside(PUBLICATION, WSLINK_DELIVERY_QUEUED);
  free_inside(PUBLICATION, WSLINK_DELIVERY_IO_THREAD);
}

static void free_inside_a_state_change(void) {
  free_inside(STATE, WSLINK_DELIVERY_QUEUED);
  free_inside(STATE, WSLINK_DELIVERY_IO_THREAD);
}

static void free_inside_a_progress_report(void) {
  free_inside(PROGRESS, WSLINK_DELIVERY_QUEUED);
  free_inside(PROGRESS, WSLINK_DELIVERY_IO_THREAD);
}

static void free_during_connect(void) {
  for (int i = 0; i < 50; i++) {
    wslink_config *config = new_config(protocol);
    wslink_session *session;
    probe state;
    probe_init(&state);
    SUCCEEDS(wslink_config_set_delivery(config, i % 2, &err));
    SUCCEEDS(wslink_config_on_state(config, on_state, &state, on_drop, &err));
    session = session_of(config);
    SUCCEEDS(wslink_session_connect(session, &err));
    wslink_session_free(session);
    probe_end(&state, 1);
  }
}

static void progress_both_ways(void) {
  wslink_config *config = new_config(protocol);
  wslink_session *session;
  wslink_args *args = wslink_args_new();
  const size_t size = 3000000;
  char *data = calloc(1, size);
  probe progress, up;
  MUST(data != NULL);
  probe_init(&progress);
  probe_init(&up);
  SUCCEEDS(wslink_config_on_progress(config, on_progress, &progress, on_drop, &err));
  session = session_of(config);
  SUCCEEDS(wslink_session_connect_wait(session, &err));
  wslink_document_unref(call_json(session, "test.bytes", "[3000000]"));
  dispatch_until(session, &progress, 1);
  while (wslink_session_dispatch(session, 0, 0, NULL) > 0) {
  }
  CHECK_INT(progress.last, true); /* incoming */
  SUCCEEDS(wslink_args_add_buffer(args, data, size, NULL, NULL, &err));
  SUCCEEDS(wslink_session_call(session, str("test.sum"), args, NULL, on_completion, &up, on_drop, NULL, &err));
  dispatch_until(session, &up, 1);
  CHECK_INT(up.last, WSLINK_OK);
  CHECK_INT(progress.last, false);
  wslink_session_free(session);
  wslink_args_free(args);
  free(data);
  probe_end(&progress, 1);
  probe_end(&up, 1);
}

static void a_log_without_the_secret(void) {
  wslink_config *config = new_config(protocol);
  wslink_session *session;
  probe log;
  probe_init(&log);
  SUCCEEDS(wslink_config_set_log(config, WSLINK_LOG_DEBUG, on_log, &log, on_drop, &err));
  session = session_of(config);
  SUCCEEDS(wslink_session_connect_wait(session, &err));
  SUCCEEDS(wslink_session_close_wait(session, 10000, &err));
  CHECK(probe_calls(&log) > 0);
  wslink_session_free(session);
  probe_end(&log, 1);
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(descriptor_is_level_triggered),
      TEST(descriptor_asked_for_when_something_waits),
      TEST(wakeup_comes_once_until_dispatch),
      TEST(policies),
      TEST(topics_and_publish_errors),
      TEST(nested_dispatch_is_refused),
      TEST(unsubscribe_in_its_own_callback),
      TEST(waiting_is_refused_on_the_io_thread),
      TEST(a_completion_may_free_the_arguments),
      TEST(free_inside_a_completion),
      TEST(free_inside_a_publication),
      TEST(free_inside_a_state_change),
      TEST(free_inside_a_progress_report),
      TEST(free_during_connect),
      TEST(progress_both_ways),
      TEST(a_log_without_the_secret),
  };
  return run_tests_twice(argc, argv, tests, sizeof tests / sizeof *tests);
}
