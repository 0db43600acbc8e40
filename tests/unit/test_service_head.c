/* SPDX-License-Identifier: Apache-2.0 */
/* What the port proxy makes of the answers of servers in guests, and the limits of what guests say
 * of files and of what clients send by parts and by WebSocket. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "e2b/multipart.h"
#include "entry.h"
#include "head.h"
#include "websocket.h"

#define OK "HTTP/1.1 200 OK\r\n"

static int parse(const char *text, bool is_head, struct head *ret)
{
	struct mvm_error err = { 0 };
	int r = head_parse(text, strlen(text), is_head, ret, &err);
	assert_int_equal(r < 0 ? r : 0, err.code);
	return r;
}

static void heads_say_where_their_body_ends(void **state)
{
	static const struct {
		const char *text;
		bool is_head;
		enum head_body body;
		uint64_t length;
	} cases[] = {
		{ OK "Content-Length: 5\r\n\r\n", false, HEAD_BODY_LENGTH, 5 },
		{ OK "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", false, HEAD_BODY_LENGTH, 5 },
		{ OK "Content-Length: 5\r\n\r\n", true, HEAD_BODY_NONE, 5 },
		{ OK "Transfer-Encoding: Chunked\r\n\r\n", false, HEAD_BODY_CHUNKS, 0 },
		{ OK "A: b\r\n\r\n", false, HEAD_BODY_REST, 0 },
		{ "HTTP/1.0 200\nA:b\n\n", false, HEAD_BODY_REST, 0 },
		{ "HTTP/1.1 204 No Content\r\n\r\n", false, HEAD_BODY_NONE, 0 },
		{ "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, HEAD_BODY_NONE,
		  9 },
		{ "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false, HEAD_BODY_NONE,
		  0 },
	};
	struct head h;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(cases[i].text, cases[i].is_head, &h), strlen(cases[i].text));
		assert_int_equal(h.body, cases[i].body);
		assert_int_equal(h.length, cases[i].length);
	}
}

static void damaged_heads_are_refused(void **state)
{
	static const char *const cases[] = {
		"SSH-2.0-x\r\n",
		"HTTP/2.0 200 OK\r\n",
		"HTTP/1.1 2000\r\n",
		"HTTP/1.1 099 x\r\n",
		"HTTP/1.1 200 O\tK\1\r\n",
		OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
		OK "Content-Length: -1\r\n\r\n",
		OK "Content-Length: 5, 5\r\n\r\n",
		OK "Content-Length: 9999999999999999999\r\n\r\n",
		OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
		OK "A : b\r\n\r\n",
		OK "A: b\r\n c\r\n\r\n",
		OK ": b\r\n\r\n",
		OK "no colon\r\n\r\n",
		OK "A: b\rc\r\n\r\n",
	};
	struct head h;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(parse(cases[i], false, &h), -EPROTO);
}

static void endless_heads_are_refused(void **state)
{
	char *text = malloc(HEAD_BYTES_MAX + 100);
	struct head h;
	(void)state;
	assert_non_null(text);
	memset(text, 'x', HEAD_BYTES_MAX + 99);
	text[HEAD_BYTES_MAX + 99] = '\0';
	assert_int_equal(parse(text, false, &h), -EFBIG);
	memcpy(text, OK "A: ", strlen(OK "A: "));
	assert_int_equal(parse(text, false, &h), -EFBIG);
	strcpy(text, OK);
	for (int i = 0; i <= HEAD_FIELDS_MAX; i++)
		strcat(text, "A: b\r\n");
	assert_int_equal(parse(text, false, &h), -EFBIG);
	free(text);
}

static void fields_of_one_connection_are_known(void **state)
{
	struct head h;
	(void)state;
	assert_true(parse(OK "Connection: x-mine, close\r\nX-Mine: 1\r\nX-Other: 2\r\n"
			     "Keep-Alive: 3\r\n\r\n",
			  false, &h) > 0);
	assert_true(head_is_hop(&h, &h.fields[0]));
	assert_true(head_is_hop(&h, &h.fields[1]));
	assert_false(head_is_hop(&h, &h.fields[2]));
	assert_true(head_is_hop(&h, &h.fields[3]));
	assert_true(head_has_word(&h, "connection", "Close"));
	assert_false(head_has_word(&h, "connection", "clos"));
}

/* Read a body that comes byte by byte.  Returns 0, or -EPROTO; *ret gets its contents. */
static int read_body(const char *head, const char *data, char ret[64], bool *ret_ended)
{
	struct head h;
	struct body b;
	size_t len = 0;

	assert_true(parse(head, false, &h) > 0);
	body_begin(&b, &h);
	for (; *data && !b.ended; data++) {
		const char *part;
		size_t n;
		int r = body_take(&b, data, 1, &part, &n);
		if (r < 0)
			return r;
		assert_int_equal(r, 1);
		memcpy(ret + len, part, n);
		len += n;
	}
	ret[len] = '\0';
	*ret_ended = b.ended;
	return body_close(&b);
}

static void bodies_end_where_they_should(void **state)
{
	static const char chunks[] = OK "Transfer-Encoding: chunked\r\n\r\n";
	char got[64];
	bool ended;
	(void)state;
	assert_int_equal(read_body(OK "Content-Length: 3\r\n\r\n", "abcd", got, &ended), 0);
	assert_string_equal(got, "abc");
	assert_int_equal(read_body(OK "Content-Length: 3\r\n\r\n", "ab", got, &ended), -EPROTO);
	assert_int_equal(read_body(OK "\r\n", "ab", got, &ended), 0);
	assert_string_equal(got, "ab");
	assert_int_equal(
		read_body(chunks, "3;a=b\r\nabc\r\nA\n0123456789\n0\r\nT: x\r\n\r\n", got, &ended),
		0);
	assert_string_equal(got, "abc0123456789");
	assert_true(ended);
	assert_int_equal(read_body(chunks, "3\r\nabc\r\n0\r\n", got, &ended), -EPROTO);
	assert_int_equal(read_body(chunks, "3\r\nabcd", got, &ended), -EPROTO);
	assert_int_equal(read_body(chunks, "x", got, &ended), -EPROTO);
	assert_int_equal(read_body(chunks, "\r\n", got, &ended), -EPROTO);
	assert_int_equal(read_body(chunks, "ffffffffffffffff0\r\n", got, &ended), -EPROTO);
}

/* Read a body of parts with the boundary "x"; returns the last result. */
static int read_parts(const char *data, size_t len)
{
	struct multipart m;
	struct multipart_event e;
	int r = multipart_init(&m, "multipart/form-data; boundary=x", NULL);
	for (size_t at = 0, n; r == 0 && at < len; at += n) {
		n = len - at;
		r = multipart_next(&m, data + at, &n, &e, NULL);
		if (e.kind == MULTIPART_END)
			break;
	}
	multipart_done(&m);
	return r;
}

static void heads_of_parts_are_bounded(void **state)
{
	AUTO_DONE(strbuf) body = { 0 };
	struct multipart m;
	char type[128];
	(void)state;
	strbuf_adds(&body, "--x\r\nContent-Disposition: form-data; name=\"");
	size_t before = body.len;
	for (size_t i = 0; i < MULTIPART_HEAD_MAX - 100; i++)
		strbuf_adds(&body, "a");
	strbuf_adds(&body, "\"\r\n\r\ntext\r\n--x--");
	assert_int_equal(read_parts(body.data, body.len), 0);
	body.len = before;
	for (size_t i = 0; i < MULTIPART_HEAD_MAX; i++)
		strbuf_adds(&body, "a");
	assert_int_equal(read_parts(body.data, body.len), -EINVAL);
	assert_int_equal(read_parts("--x\r\nA: \0\r\n\r\n", 14), -EINVAL);
	for (int n = 70; n <= 71; n++) {
		snprintf(type, sizeof(type), "multipart/form-data; boundary=%0*d", n, 0);
		assert_int_equal(multipart_init(&m, type, NULL), n == 70 ? 0 : -EINVAL);
		multipart_done(&m);
	}
}

/* What websocket_next() makes of frames that only begin. */
static int begin_frame(const char *bytes, size_t len)
{
	struct websocket w = { 0 };
	struct websocket_message m;
	assert_int_equal(websocket_add(&w, bytes, len), 0);
	int r = websocket_next(&w, &m);
	websocket_done(&w);
	return r;
}

static void frames_are_bounded(void **state)
{
	struct websocket w = { 0 };
	struct websocket_message m;
	static const char head[] = "\x02\xff\0\0\0\0\0\x08\0\0\0\0\0\0"; /* 512 KiB, not the last */
	AUTO_FREE char *half = calloc(1, 512 * 1024);
	(void)state;
	assert_non_null(half);
	assert_int_equal(begin_frame("\x82\xff\0\0\0\0\0\x10\0\0\0\0\0\0", 14), 0); /* 1 MiB */
	assert_int_equal(begin_frame("\x82\xff\0\0\0\0\0\x10\0\x01\0\0\0\0", 14), -EFBIG);
	assert_int_equal(begin_frame("\x82\xff\xff\0\0\0\0\0\0\0\0\0\0\0", 14), -EPROTO);
	assert_int_equal(begin_frame("\x89\xfe\0\x7e\0\0\0\0", 8), -EPROTO); /* a long ping */
	assert_int_equal(begin_frame("\x82\x01\0", 3), -EPROTO);	     /* no mask */
	/* together as well */
	for (int i = 0; i < 2; i++) {
		AUTO_DONE(strbuf) frame = { 0 };
		strbuf_add(&frame, head, sizeof(head) - 1);
		frame.data[0] = i ? 0 : 2;
		strbuf_add(&frame, half, 512 * 1024);
		assert_int_equal(websocket_add(&w, frame.data, frame.len), 0);
		assert_int_equal(websocket_next(&w, &m), 0);
	}
	assert_int_equal(websocket_add(&w, "\x80\x81\0\0\0\0a", 7), 0);
	assert_int_equal(websocket_next(&w, &m), -EFBIG);
	websocket_done(&w);
}

static void metadata_of_files_is_bounded(void **state)
{
	static const char head[] = "f\0"
				   "644\0"
				   "1\0"
				   "0\0"
				   "root\0"
				   "root\0"
				   "/a\0"; /* no target */
	struct guest_entry e;
	(void)state;

	/* of one byte each: more is not the agent's */
	for (size_t keys = 4096; keys <= 4097; keys++) {
		AUTO_DONE(strbuf) entry = { 0 };
		strbuf_add(&entry, head, sizeof(head));
		for (size_t i = 0; i < keys; i++)
			strbuf_adds(&entry, "k=\n");
		strbuf_add(&entry, "", 1);
		assert_int_equal(guest_entry_read(entry.data, entry.len, &e),
				 keys == 4096 ? (ssize_t)entry.len : -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_say_where_their_body_ends),
		cmocka_unit_test(damaged_heads_are_refused),
		cmocka_unit_test(endless_heads_are_refused),
		cmocka_unit_test(fields_of_one_connection_are_known),
		cmocka_unit_test(bodies_end_where_they_should),
		cmocka_unit_test(heads_of_parts_are_bounded),
		cmocka_unit_test(frames_are_bounded),
		cmocka_unit_test(metadata_of_files_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
