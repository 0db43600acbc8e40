/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/str.h"
#include "usernet/frame.h"
#include "usernet/link.h"

static struct policy_address address(const char *text)
{
	struct policy_address a;
	uint8_t v4[4];
	if (inet_pton(AF_INET, text, v4) == 1)
		return policy_address_v4(v4);
	assert_int_equal(inet_pton(AF_INET6, text, a.bytes), 1);
	return a;
}

/* ---- frames ---- */

static const uint8_t macs[12] = { 0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x6d, 0x76, 0x6d };

static size_t udp_frame(uint8_t ret[FRAME_MAX], const char *from, uint16_t from_port,
			const char *to, uint16_t to_port, const void *payload, size_t len)
{
	const struct frame f = {
		.from = address(from),
		.to = address(to),
		.from_port = from_port,
		.to_port = to_port,
		.payload = payload,
		.payload_len = len,
	};
	return frame_write_udp(macs, macs + 6, &f, ret);
}

static void a_written_frame_reads_the_same(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{ "10.0.2.15", "1.1.1.1" },
		{ "fec0::15", "2606::1" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(pairs); i++) {
		uint8_t data[FRAME_MAX];
		struct frame f;
		size_t len = udp_frame(data, pairs[i][0], 4000, pairs[i][1], 53, "hello", 5);
		assert_int_equal(frame_read(data, len, &f), FRAME_UDP);
		struct policy_address to = address(pairs[i][1]);
		assert_memory_equal(&f.to, &to, sizeof(to));
		assert_int_equal(f.from_port, 4000);
		assert_int_equal(f.to_port, 53);
		assert_int_equal(f.payload_len, 5);
		assert_memory_equal(f.payload, "hello", 5);
		/* no prefix of it is a frame */
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(frame_read(data, cut, &f), FRAME_BAD);
	}
}

static void ambiguous_frames_are_refused(void **state)
{
	(void)state;
	uint8_t data[FRAME_MAX], changed[FRAME_MAX];
	struct frame f;
	size_t len = udp_frame(data, "10.0.2.15", 4000, "1.1.1.1", 53, "hello", 5);
	static const struct {
		size_t at;
		uint8_t value;
		const char *what;
	} changes[] = {
		{ 12, 0x81, "a VLAN" },
		{ 14, 0x46, "options" },
		{ 14, 0x65, "version 6" },
		{ 20, 0x80, "the reserved bit" },
		{ 23, 4, "IP in IP" },
		{ 16, 0x08, "a long total" },
		{ 38, 0x08, "a long UDP length" },
		{ 39, 7, "a short one" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(changes); i++) {
		memcpy(changed, data, len);
		changed[changes[i].at] = changes[i].value;
		if (frame_read(changed, len, &f) != FRAME_BAD)
			fail_msg("%s", changes[i].what);
	}
	/* IPv6 with an extension header, and with a mapped IPv4 address */
	len = udp_frame(data, "fec0::15", 4000, "2606::1", 53, "hello", 5);
	memcpy(changed, data, len);
	changed[20] = 44;
	assert_int_equal(frame_read(changed, len, &f), FRAME_BAD);
	memcpy(changed, data, len);
	memset(changed + 38, 0, 16);
	changed[48] = changed[49] = 0xff;
	changed[50] = 127;
	changed[53] = 1;
	assert_int_equal(frame_read(changed, len, &f), FRAME_BAD);
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | (i + 1 < len ? p[i + 1] : 0));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void a_refusal_is_icmp_about_the_frame(void **state)
{
	(void)state;
	uint8_t data[FRAME_MAX], reply[FRAME_MAX];
	struct policy_address host = address("10.0.2.2");
	size_t len = udp_frame(data, "10.0.2.15", 4000, "10.9.9.9", 80, "hello", 5);
	size_t got = frame_write_prohibited(data, len, &host, reply);
	assert_int_equal(got, 14 + 20 + 8 + 28);
	assert_memory_equal(reply, macs + 6, 6);
	assert_int_equal(reply[23], 1);
	assert_int_equal(reply[34], 3);
	assert_int_equal(reply[35], 13);
	assert_memory_equal(reply + 42, data + 14, 28);
	assert_int_equal(sum16(reply + 14, 20, 0), 0xffff);
	assert_int_equal(sum16(reply + 34, got - 34, 0), 0xffff);

	host = address("fec0::2");
	len = udp_frame(data, "fec0::15", 4000, "fd00::1", 80, "hello", 5);
	got = frame_write_prohibited(data, len, &host, reply);
	assert_int_equal(got, 14 + 40 + 8 + 48);
	assert_int_equal(reply[54], 1);
	assert_int_equal(reply[55], 1);
	uint32_t pseudo = sum16(reply + 22, 32, 58 + (uint32_t)(got - 54));
	assert_int_equal(sum16(reply + 54, got - 54, pseudo), 0xffff);
}

static void a_reset_fits_the_guests_sequence_numbers(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to;
		uint8_t flags, reset_flags;
		uint32_t sequence, acknowledged; /* of the reset */
	} cases[] = {
		{ "10.0.2.15", "1.1.1.1", 0x10, 0x04, 0xa0b0c0d0, 0 },
		{ "10.0.2.15", "10.0.2.2", 0x18, 0x04, 0xa0b0c0d0, 0 },
		{ "fec0::15", "2606::1", 0x11, 0x04, 0xa0b0c0d0, 0 },
		{ "10.0.2.15", "10.0.2.3", 0x02, 0x14, 0, 0x01020304 + 6 },
		{ "fec0::15", "fec0::3", 0x01, 0x14, 0, 0x01020304 + 6 },
		{ "fec0::15", "fec0::3", 0x00, 0x14, 0, 0x01020304 + 5 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		uint8_t segment[25] = { 0x0f, 0xa0, 0,	  80,	1,   2,	  3,  4, 0xa0,
					0xb0, 0xc0, 0xd0, 0x50, 0,   0,	  0,  0, 0,
					0,    0,    'h',  'e',	'l', 'l', 'o' };
		uint8_t data[FRAME_MAX], reply[FRAME_MAX];
		struct frame f;
		segment[13] = cases[i].flags;
		/* make a UDP frame with the segment as its payload, then turn it into TCP */
		size_t len = udp_frame(data, cases[i].from, 1, cases[i].to, 1, segment, 25);
		size_t ip = address(cases[i].from).bytes[0] ? 40 : 20;
		memmove(data + 14 + ip, segment, sizeof(segment));
		len -= 8;
		data[14 + (ip == 40 ? 5 : 3)] = (uint8_t)(ip == 40 ? 25 : 45);
		data[14 + (ip == 40 ? 6 : 9)] = 6;
		assert_int_equal(frame_read(data, len, &f), FRAME_TCP);
		assert_int_equal(f.opens, cases[i].flags == 0x02);
		size_t got = frame_write_reset(data, len, reply);
		assert_int_equal(got, 14 + ip + 20);
		assert_int_equal(frame_read(reply, got, &f), FRAME_TCP);
		assert_true(f.resets);
		assert_int_equal(f.from_port, 80);
		assert_int_equal(f.to_port, 4000);
		struct policy_address from = address(cases[i].to), to = address(cases[i].from);
		assert_memory_equal(&f.from, &from, sizeof(from));
		assert_memory_equal(&f.to, &to, sizeof(to));
		const uint8_t *tcp = reply + 14 + ip;
		assert_int_equal(tcp[13], cases[i].reset_flags);
		const uint32_t words[] = { htonl(cases[i].sequence), htonl(cases[i].acknowledged) };
		assert_memory_equal(tcp + 4, words, sizeof(words));
		size_t addresses = ip == 40 ? 32 : 8;
		uint32_t pseudo = sum16(tcp - addresses, addresses, 6 + 20);
		assert_int_equal(sum16(tcp, 20, pseudo), 0xffff);
		/* a reset is never answered */
		assert_int_equal(frame_write_reset(reply, got, data), 0);
	}
}

/* ---- the link ---- */

static void count_frames(void *arg, const uint8_t *frame, size_t len)
{
	unsigned *n = arg;
	assert_int_equal(len, 60);
	assert_int_equal(frame[0], *n % 256);
	(*n)++;
}

static void frames_arrive_whole_however_they_are_cut(void **state)
{
	(void)state;
	static struct link in, out;
	int pair[2];
	unsigned got = 0, sent = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	out.fd = pair[0];
	in.fd = pair[1];
	while (sent < 20000) {
		uint8_t frame[60] = { (uint8_t)sent };
		uint64_t lost = out.lost;
		link_write(&out, frame, sizeof(frame));
		sent += out.lost == lost;
		assert_int_equal(link_flush(&out), 0);
		if (sent % 7 == 0 || out.lost > lost)
			assert_int_equal(link_read(&in, count_frames, &got), 0);
	}
	while (got < sent) {
		assert_int_equal(link_flush(&out), 0);
		assert_int_equal(link_read(&in, count_frames, &got), 0);
	}
	assert_int_equal(send(pair[0], "\xff\xff\xff\xff", 4, 0), 4);
	assert_int_equal(link_read(&in, count_frames, &got), -EPROTO);
	close(pair[0]);
	in.in_len = 0;
	assert_int_equal(link_read(&in, count_frames, &got), -EPIPE);
	close(pair[1]);
	strbuf_done(&out.out);
}

static void note_length(void *arg, const uint8_t *frame, size_t len)
{
	unsigned *sum = arg;
	(void)frame;
	*sum += (unsigned)len;
}

/* Whoever reads on where another has ended may begin within a frame. */
static void a_link_is_taken_up_wherever_it_was_left(void **state)
{
	(void)state;
	uint8_t frame[FRAME_MAX], stream[2 * FRAME_MAX];
	size_t len = udp_frame(frame, "10.0.2.15", 4000, "1.1.1.1", 53, "hello, hello", 12);
	for (size_t cut = 0; cut < 4 + len; cut++) {
		static struct link l;
		int pair[2];
		unsigned sum = 0;
		size_t n = 0;
		memset(&l, 0, sizeof(l));
		for (unsigned i = 0; i < 3; i++) {
			const uint8_t head[] = { 0, 0, 0, (uint8_t)len };
			memcpy(stream + n, head, 4);
			memcpy(stream + n + 4, frame, len);
			n += 4 + len;
		}
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		l.fd = pair[0];
		l.seeks = true;
		/* in two parts, wherever the second begins */
		size_t first = (n - cut) / 2;
		assert_int_equal(send(pair[1], stream + cut, first, 0), first);
		assert_int_equal(link_read(&l, note_length, &sum), 0);
		assert_int_equal(send(pair[1], stream + cut + first, n - cut - first, 0),
				 n - cut - first);
		assert_int_equal(link_read(&l, note_length, &sum), 0);
		assert_int_equal(sum, (cut ? 2 : 3) * len);
		close(pair[0]);
		close(pair[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_written_frame_reads_the_same),
		cmocka_unit_test(ambiguous_frames_are_refused),
		cmocka_unit_test(a_refusal_is_icmp_about_the_frame),
		cmocka_unit_test(a_reset_fits_the_guests_sequence_numbers),
		cmocka_unit_test(frames_arrive_whole_however_they_are_cut),
		cmocka_unit_test(a_link_is_taken_up_wherever_it_was_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
