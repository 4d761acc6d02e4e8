/* Calls and values with the real servers: every value that the C API sends and receives, bit for bit. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static wslink_session *session;

static void open_session(void) { session = ready_session(protocol, WSLINK_DELIVERY_QUEUED); }

static void close_session(void) {
  SUCCEEDS(wslink_session_close_wait(session, 10000, &err));
  CHECK_INT(wslink_session_state(session), WSLINK_STATE_CLOSED);
  CHECK_INT(wslink_session_failure(session, NULL), WSLINK_OK);
  wslink_session_free(session);
  session = NULL;
}

static bool same_bits(double a, double b) {
  if (isnan(a) || isnan(b)) {
    return isnan(a) && isnan(b);
  }
  return memcmp(&a, &b, sizeof a) == 0;
}

static bool text_is(wslink_value value, const char *expected) {
  wslink_str text = {NULL, 0};
  return wslink_value_get_string(value, &text) && text.len == strlen(expected) &&
         memcmp(text.ptr, expected, text.len) == 0;
}

/* Calls with built arguments; each call empties them. */
static const wslink_document *call(const char *method, wslink_args *args) {
  const wslink_document *reply = NULL;
  SUCCEEDS(wslink_session_call_wait(session, str(method), args, NULL, &reply, &err));
  MUST(reply != NULL);
  return reply;
}

static void check_json(wslink_value value, int32_t style, const char *expected) {
  wslink_json *json = NULL;
  SUCCEEDS(wslink_value_to_json(value, style, &json, &err));
  CHECK_TEXT(wslink_json_text(json).ptr, expected);
  wslink_json_free(json);
}

static void what_is_known_of_the_server(void) {
  char id[128], address[64], cut[4];
  size_t len;
  open_session();
  len = wslink_session_client_id(session, id, sizeof id);
  CHECK(len > 0 && len == strlen(id));
  CHECK_INT(wslink_session_client_id(session, NULL, 0), len);
  CHECK_INT(wslink_session_client_id(session, cut, sizeof cut), len);
  CHECK(strlen(cut) == 3 && strncmp(cut, id, 3) == 0);
  wslink_session_peer_address(session, address, sizeof address);
  CHECK(strstr(server_url(protocol), address) != NULL);
  CHECK((wslink_session_max_msg_size(session) > 0) == (protocol == 2));
  close_session();
}

static void floats(void) {
  const double expected[] = {NAN,    INFINITY, -INFINITY, -0.0, 0.0, 1.0, 0.1, 1e16, 1e-7, 4.9406564584124654e-324,
                             DBL_MAX};
  const size_t n = sizeof expected / sizeof *expected;
  double out[32];
  float narrow[32];
  int64_t integers[32];
  size_t count = 0;
  const wslink_document *reply;
  wslink_value list, element;
  wslink_iter each;
  wslink_args *args = wslink_args_new();

  open_session();
  reply = call_json(session, "test.value", "[\"floats\"]");
  list = wslink_document_result(reply);
  CHECK_INT(wslink_value_kind(list), WSLINK_KIND_ARRAY);
  CHECK(wslink_value_copy_doubles(list, out, 32, &count));
  MUST(count == n);
  each = wslink_value_iter(list);
  for (size_t i = 0; i < n; i++) {
    double d = 7;
    CHECK(same_bits(out[i], expected[i]));
    MUST(wslink_iter_next(&each, NULL, &element));
    CHECK_INT(wslink_value_kind(element), WSLINK_KIND_FLOAT);
    CHECK(wslink_value_get_double(element, &d) && same_bits(d, expected[i]));
    CHECK(wslink_value_get_double(at(list, i), &d) && same_bits(d, expected[i]));
    CHECK(!wslink_value_get_int(element, NULL) && !wslink_value_get_string(element, NULL));
    CHECK(!wslink_value_is_null(element) && wslink_value_size(element) == 0);
    CHECK(!wslink_value_at(element, 0, NULL) && !wslink_value_find(element, str("k"), NULL));
    CHECK(wslink_value_iter(element).left == 0 && !wslink_value_copy_doubles(element, out, 32, NULL));
  }
  CHECK(!wslink_iter_next(&each, NULL, &element));
  CHECK(!wslink_value_at(list, n, &element));
  CHECK(wslink_value_copy_floats(list, narrow, 32, &count) && narrow[6] == 0.1f);
  CHECK(!wslink_value_copy_int64s(list, integers, 32, &count));
  /* Too small a buffer gets the values that fit, and the full count. */
  memset(out, 0, sizeof out);
  CHECK(wslink_value_copy_doubles(list, out, 2, &count) && count == n && isinf(out[1]) && out[2] == 0);
  wslink_document_unref(reply);

  /* Send them back: in one step, one by one, and as floats. */
  SUCCEEDS(wslink_args_add_doubles(args, expected, n, &err));
  for (size_t i = 0; i < n; i++) {
    SUCCEEDS(wslink_args_add_double(args, expected[i], &err));
  }
  narrow[0] = 0.1f;
  SUCCEEDS(wslink_args_add_floats(args, narrow, 1, &err));
  reply = call("test.echo", args);
  list = find(wslink_document_result(reply), "args");
  CHECK(wslink_value_copy_doubles(at(list, 0), out, 32, &count) && count == n);
  for (size_t i = 0; i < n; i++) {
    double d = 7;
    CHECK(same_bits(out[i], expected[i]));
    CHECK(wslink_value_get_double(at(list, i + 1), &d) && same_bits(d, expected[i]));
  }
  CHECK(wslink_value_copy_doubles(at(list, n + 1), out, 1, NULL) && out[0] == (double)0.1f);
  wslink_document_unref(reply);
  wslink_args_free(args);
  close_session();
}

static void integers(void) {
  const int64_t expected[] = {
      0, -1, 127, 128, -32, -33, 255, 256, 2147483648, -2147483648, 4294967296, 9007199254740993, INT64_MAX, INT64_MIN};
  const size_t n = sizeof expected / sizeof *expected;
  const int32_t narrow[] = {INT32_MIN, -1, 0, INT32_MAX};
  int64_t out[32], i64;
  int32_t out32[16];
  uint64_t u64, out_u64[4];
  uint8_t out8[4];
  size_t count = 0;
  const wslink_document *reply;
  wslink_value list;
  wslink_args *args = wslink_args_new();

  open_session();
  reply = call_json(session, "test.value", "[\"ints\"]");
  list = wslink_document_result(reply);
  MUST(wslink_value_size(list) == n + 1);
  for (size_t i = 0; i < n; i++) {
    CHECK_INT(wslink_value_kind(at(list, i)), WSLINK_KIND_INT);
    CHECK(wslink_value_get_int(at(list, i), &i64) && i64 == expected[i]);
    CHECK(wslink_value_get_uint(at(list, i), &u64) == (expected[i] >= 0));
  }
  CHECK_INT(wslink_value_kind(at(list, n)), WSLINK_KIND_UINT);
  CHECK(wslink_value_get_uint(at(list, n), &u64) && u64 == UINT64_MAX);
  CHECK(!wslink_value_get_int(at(list, n), &i64));
  CHECK(!wslink_value_copy_int64s(list, out, 32, &count)); /* the last value does not fit */
  wslink_document_unref(reply);

  SUCCEEDS(wslink_args_add_int64s(args, expected, n, &err));
  SUCCEEDS(wslink_args_add_int32s(args, narrow, 4, &err));
  SUCCEEDS(wslink_args_add_uint(args, UINT64_MAX, &err));
  SUCCEEDS(wslink_args_add_json(args, str("[0, 7, 255]"), &err));
  reply = call("test.echo", args);
  list = find(wslink_document_result(reply), "args");
  CHECK(wslink_value_copy_int64s(at(list, 0), out, 32, &count) && count == n);
  CHECK(memcmp(out, expected, sizeof expected) == 0);
  CHECK(!wslink_value_copy_int32s(at(list, 0), out32, 16, &count));
  CHECK(wslink_value_copy_int32s(at(list, 1), out32, 4, &count) && memcmp(out32, narrow, sizeof narrow) == 0);
  CHECK(!wslink_value_copy_uint64s(at(list, 1), out_u64, 4, &count));
  CHECK(wslink_value_get_uint(at(list, 2), &u64) && u64 == UINT64_MAX);
  CHECK(wslink_value_copy_uint8s(at(list, 3), out8, 4, &count) && count == 3 && out8[1] == 7 && out8[2] == 255);
  CHECK(wslink_value_copy_uint64s(at(list, 3), out_u64, 4, &count) && out_u64[2] == 255);
  wslink_document_unref(reply);

  if (protocol == 1) {
    wslink_str digits = {NULL, 0};
    reply = call_json(session, "test.value", "[\"10**30\"]");
    CHECK_INT(wslink_value_kind(wslink_document_result(reply)), WSLINK_KIND_BIGINT);
    CHECK(wslink_value_get_bigint(wslink_document_result(reply), &digits) && digits.len == 31 && digits.ptr[0] == '1');
    CHECK(!wslink_value_get_int(wslink_document_result(reply), &i64));
    wslink_document_unref(reply);
  }
  wslink_args_free(args);
  close_session();
}

static void strings_bools_and_null(void) {
  const wslink_document *reply;
  wslink_value result, list;
  wslink_str text = {NULL, 0};
  bool b = false;
  wslink_args *args = wslink_args_new();
  const wslink_str with_nul = {"a\0b", 3};

  open_session();
  reply = call_json(session, "test.value", "[\"str.all\"]");
  result = wslink_document_result(reply);
  CHECK(text_is(find(result, "empty"), ""));
  CHECK(text_is(find(result, "astral"), "\xf0\x9f\x98\x80\xf0\x9d\x94\x98"));
  CHECK(text_is(find(result, "key"), "wslink_bin999999999"));
  CHECK(wslink_value_get_string(find(result, "control"), &text) && text.len == 32 && text.ptr[0] == 0 &&
        text.ptr[31] == 31);
  CHECK_INT(wslink_value_size(find(result, "str32")), 200000);
  CHECK(!wslink_value_find(result, str("no such key"), NULL));
  wslink_document_unref(reply);

  SUCCEEDS(wslink_args_add_string(args, with_nul, &err));
  SUCCEEDS(wslink_args_add_bool(args, true, &err));
  SUCCEEDS(wslink_args_add_bool(args, false, &err));
  SUCCEEDS(wslink_args_add_null(args, &err));
  SUCCEEDS(wslink_args_add_json(args, str("{\"k\": [null, \"\\u00e9\"]}"), &err));
  reply = call("test.echo", args);
  list = find(wslink_document_result(reply), "args");
  CHECK_INT(wslink_value_size(list), 5);
  CHECK(wslink_value_get_string(at(list, 0), &text) && text.len == 3 && memcmp(text.ptr, "a\0b", 3) == 0);
  CHECK(wslink_value_get_bool(at(list, 1), &b) && b);
  CHECK(wslink_value_get_bool(at(list, 2), &b) && !b);
  CHECK(wslink_value_is_null(at(list, 3)) && !wslink_value_is_null(at(list, 2)));
  CHECK(text_is(at(find(at(list, 4), "k"), 1), "\xc3\xa9"));
  /* The root of a reply is the whole message. */
  CHECK(wslink_value_size(find(find(wslink_document_root(reply), "result"), "args")) == 5);
  CHECK(wslink_document_wire_size(reply) > 40);
  wslink_document_unref(reply);
  wslink_args_free(args);
  close_session();
}

static void containers_and_keywords(void) {
  const wslink_document *reply;
  wslink_value result, key, value;
  wslink_iter each;
  int64_t sum = 0, i64 = 0;
  wslink_args *args = wslink_args_new();

  open_session();
  SUCCEEDS(wslink_args_begin_map(args, &err));
  SUCCEEDS(wslink_args_key(args, str("one"), &err));
  SUCCEEDS(wslink_args_add_int(args, 1, &err));
  SUCCEEDS(wslink_args_key(args, str("list"), &err));
  SUCCEEDS(wslink_args_begin_array(args, &err));
  SUCCEEDS(wslink_args_add_int(args, 2, &err));
  SUCCEEDS(wslink_args_begin_map(args, &err));
  SUCCEEDS(wslink_args_end(args, &err));
  SUCCEEDS(wslink_args_end(args, &err));
  SUCCEEDS(wslink_args_end(args, &err));
  SUCCEEDS(wslink_args_keyword(args, str("size"), &err));
  SUCCEEDS(wslink_args_add_json(args, str("[640, 480]"), &err));
  SUCCEEDS(wslink_args_add_string(args, str("positional again"), &err));
  SUCCEEDS(wslink_args_add_json_keywords(args, str("{\"a\": 1, \"b\": {}}"), &err));
  SUCCEEDS(wslink_args_add_json_array(args, str("[[], 3]"), &err));
  reply = call("test.echo", args);
  result = wslink_document_result(reply);
  check_json(result, WSLINK_JSON_PLAIN,
             "{\"args\": [{\"one\": 1, \"list\": [2, {}]}, \"positional again\", [], 3], "
             "\"kwargs\": {\"size\": [640, 480], \"a\": 1, \"b\": {}}}");
  each = wslink_value_iter(find(find(wslink_document_result(reply), "kwargs"), "size"));
  while (wslink_iter_next(&each, &key, &value)) {
    CHECK(wslink_value_get_int(value, &i64));
    sum += i64;
  }
  CHECK_INT(sum, 1120);
  each = wslink_value_iter(find(result, "kwargs"));
  CHECK(wslink_iter_next(&each, &key, &value) && text_is(key, "size"));
  CHECK(wslink_iter_next(&each, &key, &value) && text_is(key, "a"));
  CHECK(wslink_iter_next(&each, NULL, &value) && !wslink_iter_next(&each, &key, &value));

  /* The arguments are empty after the call, and the reply can be sent on. */
  SUCCEEDS(wslink_args_add_value(args, find(result, "kwargs"), &err));
  wslink_document_unref(reply);
  reply = call("test.echo", args);
  check_json(wslink_document_result(reply), WSLINK_JSON_PLAIN,
             "{\"args\": [{\"size\": [640, 480], \"a\": 1, \"b\": {}}], \"kwargs\": {}}");
  wslink_document_unref(reply);
  wslink_args_free(args);
  close_session();
}

static void keys_and_extensions(void) {
  const wslink_document *reply;
  wslink_value result, key, value;
  wslink_iter each;
  int64_t i64 = 0;
  int8_t type = 0;
  wslink_bytes data = {NULL, 0};
  wslink_args *args = wslink_args_new();

  open_session();
  reply = call_json(session, "test.value", "[\"keys\"]");
  each = wslink_value_iter(wslink_document_result(reply));
  CHECK(wslink_iter_next(&each, &key, &value) && text_is(value, "int"));
  if (protocol == 1) {
    CHECK(text_is(key, "7"));
  } else {
    CHECK(wslink_value_get_int(key, &i64) && i64 == 7);
  }
  wslink_document_unref(reply);

  SUCCEEDS(wslink_args_add_ext(args, 5, "abc", 3, &err));
  if (protocol == 1) {
    const wslink_document *none = NULL;
    FAILS(WSLINK_ERR_UNSUPPORTED, wslink_session_call_wait(session, str("test.echo"), args, NULL, &none, &err));
  } else {
    reply = call("test.echo", args);
    result = at(find(wslink_document_result(reply), "args"), 0);
    CHECK_INT(wslink_value_kind(result), WSLINK_KIND_EXT);
    CHECK(wslink_value_get_ext(result, &type, &data) && type == 5 && data.len == 3 && memcmp(data.ptr, "abc", 3) == 0);
    CHECK(wslink_value_get_ext(result, NULL, NULL));
    wslink_document_unref(reply);
  }
  wslink_args_free(args);
  close_session();
}

static void attachments_in(void) {
  const wslink_document *reply;
  wslink_bytes data = {NULL, 0};
  const wslink_buffer *kept = NULL, *of_json = NULL;
  wslink_json *json = NULL;
  wslink_str key = {NULL, 0};

  open_session();
  reply = call_json(session, "test.bytes", "[3000000, 5]");
  CHECK_INT(wslink_value_kind(wslink_document_result(reply)), WSLINK_KIND_BYTES);
  CHECK(wslink_value_get_bytes(wslink_document_result(reply), &data) && is_pattern(data, 3000000, 5));
  CHECK(wslink_value_get_buffer(wslink_document_result(reply), &kept));
  CHECK(wslink_buffer_data(kept) == data.ptr); /* no copy */
  CHECK(wslink_buffer_ref(kept) == kept);
  wslink_document_unref(reply);
  wslink_buffer_unref(kept);

  reply = call_json(session, "test.bytes.twice", "[100, 1]");
  SUCCEEDS(wslink_value_to_json(wslink_document_result(reply), WSLINK_JSON_PLAIN, &json, &err));
  CHECK(wslink_json_attachment_count(json) >= 1);
  CHECK(strncmp(wslink_json_text(json).ptr, "{\"a\": \"wslink_bin0\", \"b\": [\"wslink_bin", 38) == 0);
  CHECK(wslink_json_attachment(json, 0, &key, &data) && is_pattern(data, 100, 1));
  CHECK(!wslink_json_attachment(json, 99, &key, &data));
  of_json = wslink_json_attachment_buffer(json, 0);
  CHECK(wslink_json_attachment_buffer(json, 99) == NULL);
  wslink_json_free(json);
  wslink_document_unref(reply);

  for (size_t size = 0; size <= 1; size++) {
    char args[16];
    snprintf(args, sizeof args, "[%d]", (int)size);
    reply = call_json(session, "test.bytes", args);
    CHECK(wslink_value_get_bytes(wslink_document_result(reply), &data) && is_pattern(data, size, 0));
    wslink_document_unref(reply);
  }
  close_session();
  /* The buffers outlive document, JSON text and session. */
  data.ptr = wslink_buffer_data(kept);
  data.len = wslink_buffer_size(kept);
  CHECK(is_pattern(data, 3000000, 5));
  wslink_buffer_unref(kept);
  data.ptr = wslink_buffer_data(of_json);
  data.len = wslink_buffer_size(of_json);
  CHECK(is_pattern(data, 100, 1));
  wslink_buffer_unref(of_json);
}

static void attachments_out(void) {
  enum { SIZE = 4000000 };
  unsigned char *data = malloc(SIZE);
  const wslink_document *reply;
  wslink_value list;
  wslink_bytes back = {NULL, 0};
  wslink_args *args = wslink_args_new();
  char key[WSLINK_ATTACHMENT_KEY_SIZE], json[128];
  probe released, attached;

  MUST(data != NULL);
  for (size_t i = 0; i < SIZE; i++) {
    data[i] = pattern_at(i, 3);
  }
  probe_init(&released);
  probe_init(&attached);
  open_session();
  SUCCEEDS(wslink_args_add_buffer(args, data, SIZE, on_drop, &released, &err));
  SUCCEEDS(wslink_args_add_bytes(args, data, 10, &err));
  SUCCEEDS(wslink_args_add_bytes(args, NULL, 0, &err));
  SUCCEEDS(wslink_args_attach(args, data, 256, on_drop, &attached, key, &err));
  snprintf(json, sizeof json, "{\"again\": [\"%s\", {\"x\": \"%s\"}]}", key, key);
  SUCCEEDS(wslink_args_add_json_keywords(args, str(json), &err));
  CHECK(probe_drops(&released) == 0 && probe_drops(&attached) == 0);
  reply = call("test.echo", args);
  /* The reply has arrived, so the library has released them. */
  probe_wait_drops(&released, 1);
  probe_wait_drops(&attached, 1);
  list = find(wslink_document_result(reply), "args");
  CHECK(wslink_value_get_bytes(at(list, 0), &back) && is_pattern(back, SIZE, 3));
  CHECK(wslink_value_get_bytes(at(list, 1), &back) && is_pattern(back, 10, 3));
  CHECK(wslink_value_get_bytes(at(list, 2), &back) && back.len == 0);
  list = find(find(wslink_document_result(reply), "kwargs"), "again");
  CHECK(wslink_value_get_bytes(at(list, 0), &back) && is_pattern(back, 256, 3));
  CHECK(wslink_value_get_bytes(find(at(list, 1), "x"), &back) && is_pattern(back, 256, 3));
  wslink_document_unref(reply);
  probe_end(&released, 1);
  probe_end(&attached, 1);

  /* Too large for a server of protocol 1: refused locally, and the session goes on. */
  if (protocol == 1) {
    char *large = calloc(1, 5000000);
    const wslink_document *none = NULL;
    MUST(large != NULL);
    probe_init(&released);
    SUCCEEDS(wslink_args_add_buffer(args, large, 5000000, on_drop, &released, &err));
    FAILS(WSLINK_ERR_LIMIT, wslink_session_call_wait(session, str("test.sum"), args, NULL, &none, &err));
    wslink_args_clear(args);
    probe_end(&released, 1);
    free(large);
    wslink_document_unref(call_json(session, "test.echo", "[1]"));
  }
  wslink_args_free(args);
  close_session();
  free(data);
}

static void errors_of_the_server(void) {
  const wslink_document *reply = NULL;
  wslink_error *e = NULL;
  wslink_value data;
  int64_t code = 0;
  wslink_args *args = wslink_args_new();

  open_session();
  CHECK_INT(wslink_session_call_wait(session, str("no.such.method"), NULL, NULL, &reply, &e), WSLINK_ERR_REMOTE);
  CHECK(wslink_error_remote_code(e, &code) && code == -32601);
  CHECK(wslink_error_remote_message(e)[0] != '\0' && !wslink_error_is_retriable(e));
  CHECK_INT(wslink_error_stage(e), WSLINK_STAGE_CALL);
  CHECK_INT(wslink_error_http_status(e), 0);
  wslink_error_free(e);

  SUCCEEDS(wslink_args_add_string(args, str("ValueError"), &err));
  CHECK_INT(wslink_session_call_wait(session, str("test.raise"), args, NULL, &reply, &e), WSLINK_ERR_REMOTE);
  CHECK(wslink_error_remote_code(e, &code) && code == -32001);
  CHECK(wslink_error_remote_data(e, &data) && text_is(find(data, "method"), "test.raise"));
  CHECK(wslink_value_kind(find(data, "trace")) > 0);
  CHECK(wslink_error_remote_value(e, &data) && text_is(find(data, "message"), "Exception raised"));
  CHECK(text_is(find(find(data, "data"), "method"), "test.raise"));
  {
    /* The data lives as long as any copy of the error. */
    wslink_error *copy = wslink_error_clone(e);
    wslink_error_free(e);
    CHECK(wslink_error_remote_data(copy, &data) && text_is(find(data, "method"), "test.raise"));
    wslink_error_free(copy);
  }
  FAILS(WSLINK_ERR_ARGUMENT, wslink_session_call_wait(session, str(""), NULL, NULL, &reply, &err));
  CHECK(reply == NULL);
  wslink_args_free(args);
  close_session();
}

/* The default timeout of the session, and calls that override it. */
static void a_timeout_for_all_calls(void) {
  wslink_call_options options = WSLINK_CALL_OPTIONS_INIT;
  const wslink_document *reply = NULL;
  probe late;
  probe_init(&late);
  for (int round = 0; round < 2; round++) {
    wslink_config *config = new_config(protocol);
    wslink_args *args = wslink_args_new();
    wslink_session *limited;
    SUCCEEDS(wslink_config_set_call_timeout(config, 20, &err));
    if (round == 1) {
      SUCCEEDS(wslink_config_set_call_timeout(config, 0, &err)); /* removes the default */
    }
    limited = session_of(config);
    SUCCEEDS(wslink_session_connect_wait(limited, &err));
    /* This call must not time out, because a server answers the calls of a session one after the other. */
    options.timeout_ms = round == 0 ? WSLINK_NO_TIMEOUT : 0;
    SUCCEEDS(wslink_args_add_double(args, 0.1, &err));
    SUCCEEDS(wslink_session_call_wait(limited, str("test.sleep"), args, &options, &reply, &err));
    wslink_document_unref(reply);
    if (round == 0) {
      SUCCEEDS(wslink_args_add_int(args, 60, &err));
      SUCCEEDS(wslink_session_call(limited, str("test.sleep"), args, NULL, on_completion, &late, on_drop, NULL, &err));
      dispatch_until(limited, &late, 1);
      CHECK_INT(late.last, WSLINK_ERR_TIMEOUT);
      SUCCEEDS(wslink_args_add_int(args, 60, &err));
      FAILS(WSLINK_ERR_TIMEOUT, wslink_session_call_wait(limited, str("test.sleep"), args, NULL, &reply, &err));
    }
    wslink_args_free(args);
    wslink_session_free(limited);
  }
  probe_end(&late, 1);
}

static void timeouts(void) {
  wslink_call_options options = WSLINK_CALL_OPTIONS_INIT;
  const wslink_document *reply = NULL;
  wslink_args *args = wslink_args_new();
  probe late;

  /* Much longer than the test, so that the reply cannot arrive first. */
  probe_init(&late);
  open_session();
  options.timeout_ms = 20;
  SUCCEEDS(wslink_args_add_int(args, 60, &err));
  SUCCEEDS(wslink_session_call(session, str("test.sleep"), args, &options, on_completion, &late, on_drop, NULL, &err));
  dispatch_until(session, &late, 1);
  CHECK_INT(late.last, WSLINK_ERR_TIMEOUT);
  SUCCEEDS(wslink_args_add_int(args, 60, &err));
  FAILS(WSLINK_ERR_TIMEOUT, wslink_session_call_wait(session, str("test.sleep"), args, &options, &reply, &err));
  CHECK_INT(wslink_session_state(session), WSLINK_STATE_READY);
  wslink_args_free(args);
  wslink_session_free(session);
  probe_end(&late, 1);
}

static void cancel_and_statistics(void) {
  wslink_stats stats = WSLINK_STATS_INIT;
  probe cancelled, wanted;
  uint64_t id;

  probe_init(&cancelled);
  probe_init(&wanted);
  open_session();
  id = begin_call(session, "test.sleep", "[0.5]", &cancelled);
  CHECK(wslink_session_cancel(session, id));
  CHECK(!wslink_session_cancel(session, id));
  CHECK(!wslink_session_cancel(session, id + 1000));
  CHECK_INT(probe_calls(&cancelled), 0); /* not completed inside the function */
  dispatch_until(session, &cancelled, 1);
  CHECK_INT(cancelled.last, WSLINK_ERR_CANCELLED);

  id = begin_call(session, "test.sleep", "[1.0]", &wanted);
  SUCCEEDS(wslink_session_stats(session, &stats, &err));
  CHECK_INT(stats.calls_in_flight, 1);
  dispatch_until(session, &wanted, 1);
  CHECK_INT(wanted.last, WSLINK_OK);
  CHECK(!wslink_session_cancel(session, id));
  /* The reply to the cancelled call has arrived before this one. */
  SUCCEEDS(wslink_session_stats(session, &stats, &err));
  CHECK_INT(stats.late_replies, 1);
  CHECK_INT(stats.calls, 2);
  CHECK_INT(stats.calls_in_flight, 0);
  CHECK_INT(stats.unknown_replies, 0);
  CHECK(stats.messages_in > 0 && stats.messages_out >= 2 && stats.bytes_in > 0 && stats.bytes_out > 0);
  close_session();
  probe_end(&cancelled, 1);
  probe_end(&wanted, 1);
}

static void the_end_of_a_session(void) {
  const wslink_document *reply = NULL;
  probe pending, refused, again;
  probe_init(&pending);
  probe_init(&refused);
  probe_init(&again);
  open_session();
  begin_call(session, "test.sleep", "[60]", &pending);
  /* The server is busy with that call and will not answer the Close frame. */
  SUCCEEDS(wslink_session_close_wait(session, 100, &err));
  dispatch_until(session, &pending, 1);
  CHECK_INT(pending.last, WSLINK_ERR_CLOSED);
  FAILS(WSLINK_ERR_CLOSED,
        wslink_session_call(session, str("test.echo"), NULL, NULL, on_completion, &refused, on_drop, NULL, &err));
  FAILS(WSLINK_ERR_CLOSED, wslink_session_call_wait(session, str("test.echo"), NULL, NULL, &reply, &err));
  SUCCEEDS(wslink_session_close(session, 0, &err));

  /* The same session connects again. A second connect meanwhile is refused. */
  SUCCEEDS(wslink_session_connect_wait(session, &err));
  FAILS(WSLINK_ERR_STATE, wslink_session_connect(session, &err));
  FAILS(WSLINK_ERR_STATE, wslink_session_connect_wait(session, &err));
  begin_call(session, "test.sleep", "[60]", &again);
  wslink_session_free(session);
  /* Completed before free returns. */
  CHECK(probe_calls(&again) == 1 && again.last == WSLINK_ERR_CLOSED);
  probe_end(&pending, 1);
  probe_end(&refused, 1);
  probe_end(&again, 1);
}

static void refusals(void) {
  wslink_config *config = new_config(protocol);
  wslink_session *other;
  SUCCEEDS(wslink_config_set_secret(config, "wrong", &err));
  other = session_of(config);
  FAILS(WSLINK_ERR_AUTH, wslink_session_connect_wait(other, &err));
  wslink_session_free(other);

  config = new_config(protocol);
  SUCCEEDS(wslink_config_set_protocol(config, protocol == 1 ? WSLINK_PROTOCOL_V2 : WSLINK_PROTOCOL_V1, &err));
  SUCCEEDS(wslink_config_set_connect_timeout(config, 10000, &err));
  other = session_of(config);
  FAILS(WSLINK_ERR_MISMATCH, wslink_session_connect_wait(other, &err));
  wslink_session_free(other);

  config = new_config(protocol);
  SUCCEEDS(wslink_config_set_protocol(config, protocol, &err));
  SUCCEEDS(wslink_config_set_max_message_size(config, 100000, &err));
  session = session_of(config);
  SUCCEEDS(wslink_session_connect_wait(session, &err));
  {
    const wslink_document *reply = NULL;
    wslink_args *args = wslink_args_new();
    SUCCEEDS(wslink_args_add_int(args, 200000, &err));
    FAILS(WSLINK_ERR_LIMIT, wslink_session_call_wait(session, str("test.bytes"), args, NULL, &reply, &err));
    wslink_args_free(args);
  }
  wslink_session_free(session);
}

static void the_same_json_in_both(void) {
  const wslink_document *reply;
  wslink_json *json = NULL;
  open_session();
  reply = call_json(session, "test.echo", "[NaN, -Infinity, 1.0, 1e300, {\"k\": \"\\u2028\\n\"}]");
  check_json(
      wslink_document_result(reply), WSLINK_JSON_TAGGED,
      "{\"args\": [{\"$float\": \"NaN\"}, {\"$float\": \"-Infinity\"}, 1.0, 1e+300, {\"k\": \"\xe2\x80\xa8\\n\"}], "
      "\"kwargs\": {}}");
  FAILS(WSLINK_ERR_ARGUMENT, wslink_value_to_json(wslink_document_result(reply), 2, &json, &err));
  FAILS(WSLINK_ERR_NULL, wslink_value_to_json(wslink_document_result(reply), WSLINK_JSON_PLAIN, NULL, &err));
  CHECK(json == NULL);
  wslink_document_unref(reply);
  close_session();
}

/* A token that has expired, and its successor. */
typedef struct tokens {
  int asked;
  int32_t reasons[2];
  uint32_t numbers[2];
  bool on_this_thread;
  pthread_t thread;
} tokens;

static bool renew(void *user, wslink_attempt *attempt, uint32_t number, const wslink_error *reason) {
  tokens *t = user;
  if (t->asked < 2) {
    t->reasons[t->asked] = reason ? wslink_error_code(reason) : 0;
    t->numbers[t->asked] = number;
  }
  t->on_this_thread = pthread_equal(t->thread, pthread_self());
  t->asked++;
  SUCCEEDS(wslink_attempt_set_secret(attempt, t->asked == 1 ? "expired" : "wslink-secret", &err));
  SUCCEEDS(wslink_attempt_set_header(attempt, "X-Token", "1", &err));
  SUCCEEDS(wslink_attempt_set_header(attempt, "X-Token", NULL, &err));
  SUCCEEDS(wslink_attempt_set_url(attempt, server_url(protocol), &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_attempt_set_url(attempt, "http://localhost", &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_attempt_set_header(attempt, "Host", "h", &err));
  FAILS(WSLINK_ERR_NULL, wslink_attempt_set_secret(attempt, NULL, &err));
  return t->asked <= 2;
}

static void a_refused_secret_is_renewed(void) {
  wslink_reconnect_options options = WSLINK_RECONNECT_OPTIONS_INIT;
  wslink_config *config = new_config(protocol);
  tokens t;
  memset(&t, 0, sizeof t);
  t.thread = pthread_self();
  options.first_delay_ms = 1;
  options.at_first = 1;
  SUCCEEDS(wslink_config_set_reconnect(config, &options, &err));
  SUCCEEDS(wslink_config_before_attempt(config, renew, &t, NULL, &err));
  session = session_of(config);
  SUCCEEDS(wslink_session_connect_wait(session, &err));
  CHECK_INT(t.asked, 2);
  CHECK(t.reasons[0] == 0 && t.reasons[1] == WSLINK_ERR_AUTH && t.numbers[0] == 0 && t.numbers[1] == 1);
  CHECK(!t.on_this_thread);
  /* The callback refuses the third attempt. */
  SUCCEEDS(wslink_session_close_wait(session, 5000, &err));
  FAILS(WSLINK_ERR_CANCELLED, wslink_session_connect_wait(session, &err));
  wslink_session_free(session);
}

int main(int argc, char **argv) {
  static const test tests[] = {
      TEST(what_is_known_of_the_server),
      TEST(floats),
      TEST(integers),
      TEST(strings_bools_and_null),
      TEST(containers_and_keywords),
      TEST(keys_and_extensions),
      TEST(attachments_in),
      TEST(attachments_out),
      TEST(errors_of_the_server),
      TEST(timeouts),
      TEST(a_timeout_for_all_calls),
      TEST(cancel_and_statistics),
      TEST(the_end_of_a_session),
      TEST(refusals),
      TEST(a_refused_secret_is_renewed),
      TEST(the_same_json_in_both),
  };
  return run_tests_twice(argc, argv, tests, sizeof tests / sizeof *tests);
}
