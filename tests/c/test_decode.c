/*
 * Decoding messages from memory, without a session.
 */
#include "check.h"

#include <string.h>

static const wslink_document *decode(const void *data, size_t size, int32_t encoding) {
  const wslink_document *document = NULL;
  SUCCEEDS(wslink_document_decode(data, size, encoding, &document, &err));
  CHECK_INT(wslink_document_wire_size(document), size);
  return document;
}

static void decoded_messages(void) {
  static const char packed[] = "\x82\xa2id\xa1x\xa6result\x82\xa1"
                               "a\xcb\x3f\xf8\0\0\0\0\0\0\xa1"
                               "b\xa4text";
  char text[] = "{\"id\": \"x\", \"result\": {\"a\": 1.5, \"b\": \"te\\u0078t\"}}";
  const wslink_document *documents[2];
  const wslink_document *document = (const wslink_document *)text;
  wslink_value value;
  wslink_str found;
  double number;

  documents[0] = decode(packed, sizeof packed - 1, WSLINK_ENCODING_MSGPACK);
  documents[1] = decode(text, strlen(text), WSLINK_ENCODING_JSON);
  memset(text, 'x', sizeof text); /* the library has copied it */
  for (int i = 0; i < 2; i++) {
    wslink_value result = wslink_document_result(documents[i]);
    CHECK(wslink_value_find(result, str("b"), &value) && wslink_value_get_string(value, &found));
    CHECK(found.len == 4 && memcmp(found.ptr, "text", 4) == 0);
    CHECK(wslink_value_find(result, str("a"), &value) && wslink_value_get_double(value, &number) && number == 1.5);
    CHECK(!wslink_value_find(result, str("c"), &value));
    CHECK(wslink_value_find(wslink_document_root(documents[i]), str("id"), &value));
    wslink_document_unref(documents[i]);
  }

  /* A message without a result is its own result. Of equal keys the last one counts, also after an earlier lookup. */
  documents[0] = decode("{\"a\": 1, \"b\": 2, \"a\": 3}", 24, WSLINK_ENCODING_JSON);
  value = wslink_document_result(documents[0]);
  CHECK_INT(wslink_value_size(value), 3);
  CHECK(wslink_value_find(wslink_document_result(documents[0]), str("b"), &value));
  CHECK(wslink_value_find(wslink_document_result(documents[0]), str("a"), &value));
  CHECK(wslink_value_get_double(value, &number) && number == 3);
  wslink_document_unref(documents[0]);

  FAILS(WSLINK_ERR_JSON, wslink_document_decode((const uint8_t *)"[1,", 3, WSLINK_ENCODING_JSON, &document, &err));
  FAILS(WSLINK_ERR_UTF8, wslink_document_decode((const uint8_t *)"\"\xff\"", 3, WSLINK_ENCODING_JSON, &document, &err));
  FAILS(WSLINK_ERR_PROTOCOL,
        wslink_document_decode((const uint8_t *)"\x92\x01", 2, WSLINK_ENCODING_MSGPACK, &document, &err));
  FAILS(WSLINK_ERR_PROTOCOL, wslink_document_decode(NULL, 0, WSLINK_ENCODING_MSGPACK, &document, &err));
  FAILS(WSLINK_ERR_NULL, wslink_document_decode(NULL, 1, WSLINK_ENCODING_MSGPACK, &document, &err));
  FAILS(WSLINK_ERR_ARGUMENT, wslink_document_decode((const uint8_t *)"1", 1, 0, &document, &err));
  CHECK(document == (const wslink_document *)text);
}

static void strings_in_one_step(void) {
  static const char list[] = "[\"a\", \"\", \"gr\u00fcn\", \"d\", 5, \"f\"]", map[] = "{\"k\": \"v\"}",
                    floats[] = "[1.5, 2.5]";
  const wslink_document *documents[] = {decode(list, sizeof list - 1, WSLINK_ENCODING_JSON),
                                        decode(map, sizeof map - 1, WSLINK_ENCODING_JSON),
                                        decode(floats, sizeof floats - 1, WSLINK_ENCODING_JSON)};
  wslink_str texts[8] = {{NULL, 7}};
  wslink_value value;
  wslink_iter iter = wslink_value_iter(wslink_document_root(documents[0]));
  int64_t number;

  CHECK_INT(wslink_iter_next_strings(&iter, NULL, 8), 0);
  CHECK_INT(wslink_iter_next_strings(&iter, texts, 0), 0);
  CHECK_INT(texts[0].len, 7);
  CHECK_INT(wslink_iter_next_strings(&iter, texts, 2), 2);
  CHECK(texts[0].len == 1 && texts[0].ptr[0] == 'a' && texts[1].len == 0);
  CHECK_INT(wslink_iter_next_strings(&iter, texts, 8), 2);
  CHECK(texts[0].len == 5 && memcmp(texts[0].ptr, "gr\xc3\xbcn", 5) == 0 && texts[1].ptr[0] == 'd');
  /* The iterator stops at a value that is not a string. */
  CHECK_INT(wslink_iter_next_strings(&iter, texts, 8), 0);
  CHECK(wslink_iter_next(&iter, NULL, &value) && wslink_value_get_int(value, &number) && number == 5);
  CHECK_INT(wslink_iter_next_strings(&iter, texts, 8), 1);
  CHECK(texts[0].ptr[0] == 'f');
  CHECK_INT(wslink_iter_next_strings(&iter, texts, 8), 0);
  CHECK(!wslink_iter_next(&iter, NULL, &value));

  for (int i = 1; i < 3; i++) {
    iter = wslink_value_iter(wslink_document_root(documents[i]));
    CHECK_INT(wslink_iter_next_strings(&iter, texts, 8), 0);
    CHECK(wslink_iter_next(&iter, NULL, &value));
  }
  for (int i = 0; i < 3; i++)
    wslink_document_unref(documents[i]);
}

/* The members of a view are private; whatever an application writes to them does no harm. */
static void views_of_no_value_of_their_document(void) {
  static const char text[] = "{\"a\": [1, 2], \"b\": {\"c\": \"d\"}}";
  const uint64_t entries = 9, places[] = {entries,
                                          entries + 1,
                                          UINT32_MAX,
                                          UINT64_MAX,
                                          UINT64_MAX << 32,
                                          UINT64_C(1) << 32,
                                          UINT64_C(1) << 32 | (entries - 1),
                                          UINT64_C(1) << 32 | entries,
                                          UINT64_C(1) << 63 | 1};
  const wslink_document *document = NULL;
  wslink_value root, last, found = {NULL, 7};
  wslink_iter iter;
  bool b;
  double d[2];
  wslink_str string;
  wslink_bytes bytes;

  SUCCEEDS(wslink_document_decode((const uint8_t *)text, sizeof text - 1, WSLINK_ENCODING_JSON, &document, &err));
  root = wslink_document_root(document);
  MUST(wslink_value_find(root, str("b"), &last) && wslink_value_find(last, str("c"), &last));
  CHECK_INT(last.place, entries - 1);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    wslink_value view = root;
    view.place = places[i];
    CHECK_INT(wslink_value_kind(view), WSLINK_ERR_NULL);
    CHECK(!wslink_value_is_null(view) && wslink_value_size(view) == 0);
    CHECK(!wslink_value_get_bool(view, &b) && !wslink_value_get_double(view, d));
    CHECK(!wslink_value_get_int(view, NULL) && !wslink_value_get_uint(view, NULL));
    CHECK(!wslink_value_get_string(view, &string) && !wslink_value_get_bytes(view, &bytes));
    CHECK(!wslink_value_get_ext(view, NULL, &bytes) && !wslink_value_get_bigint(view, &string));
    CHECK(!wslink_value_at(view, 0, &found) && !wslink_value_find(view, str("a"), &found) && found.place == 7);
    CHECK(!wslink_value_copy_doubles(view, d, 2, NULL));
    iter = wslink_value_iter(view);
    CHECK(!wslink_iter_next(&iter, NULL, &found));
    /* An iterator over a map, at its last entry and beyond. */
    iter = wslink_value_iter(root);
    iter.next.place = places[i];
    CHECK(!wslink_iter_next(&iter, NULL, &found));
    iter.next.place = entries - 1;
    CHECK(!wslink_iter_next(&iter, NULL, &found) && found.place == 7);
  }
  wslink_document_unref(document);
}

int main(int argc, char **argv) {
  static const test tests[] = {TEST(decoded_messages), TEST(strings_in_one_step),
                               TEST(views_of_no_value_of_their_document)};
  return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
