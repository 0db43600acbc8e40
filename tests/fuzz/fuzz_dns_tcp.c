/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "usernet/dns_tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t macs[12] = { 0x52, 0x55, 10, 0, 2, 3, 0x52, 0x54, 0, 0x6d, 0x76, 0x6d };

/* What a guest knows of its connections: the numbers in the last segment to it. */
struct guest {
	struct dns_tcp tcp;
	uint64_t asked;
	uint32_t next, acknowledged;
};

static void on_ask(void *arg, uint64_t number, const uint8_t *message, size_t len)
{
	(void)message;
	if (len < DNS_HEAD || len > DNS_MESSAGE_MAX)
		abort();
	((struct guest *)arg)->asked = number;
}

static void on_send(void *arg, const uint8_t *frame, size_t len)
{
	struct guest *g = arg;
	struct frame f;
	if (frame_read(frame, len, &f) != FRAME_TCP || f.from_port != DNS_PORT ||
	    f.payload_len > FRAME_SEGMENT)
		abort();
	if (f.flags & FRAME_ACK)
		g->next = f.acknowledged;
	g->acknowledged = f.sequence + (uint32_t)f.payload_len + ((f.flags & FRAME_SYN) != 0);
}

/* One segment of the guest's, or an answer, or the time: five bytes, then the payload. */
static size_t step(struct guest *g, const uint8_t *data, size_t size, int64_t *now_ns)
{
	static const uint8_t reply[4096] = { 1 };
	uint8_t frame[FRAME_MAX];
	size_t len = data[4] < size - 5 ? data[4] : size - 5;
	struct frame f = {
		.from = { { [15] = data[0] & 3 } },
		.to = { { [15] = 3 } },
		.from_port = (uint16_t)(4000 + (data[0] >> 2 & 31)),
		.to_port = DNS_PORT,
		.flags = data[1],
		.window = (uint16_t)(data[2] << 6),
		.sequence = g->next + (uint32_t)(int8_t)data[3] / 16,
		.acknowledged = g->acknowledged + (uint32_t)(int8_t)(data[3] << 4) / 16,
		.payload = data + 5,
		.payload_len = len,
	};
	f.from.bytes[0] = f.to.bytes[0] = 0xfe;
	*now_ns += (int64_t)data[2] << 22;
	if (data[1] & 0x40)
		dns_tcp_answer(&g->tcp, g->asked, reply, (size_t)data[2] << 4, *now_ns);
	if (data[1] & 0x80)
		dns_tcp_tick(&g->tcp, *now_ns);
	size_t frame_len = frame_write_tcp(macs, macs + 6, &f, frame);
	if (frame_read(frame, frame_len, &f) != FRAME_TCP)
		abort();
	dns_tcp_input(&g->tcp, frame, frame_len, &f, *now_ns);
	return 5 + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest g;
	int64_t now_ns = 0;
	g = (struct guest){ .tcp = { .ask = on_ask, .send = on_send, .arg = &g } };
	while (size >= 5) {
		size_t used = step(&g, data, size, &now_ns);
		for (size_t i = 0; i < DNS_TCP_MAX; i++) {
			const struct dns_tcp_connection *c = &g.tcp.all[i];
			if (c->in_len > sizeof(c->in) || (c->out_len > 0) != (c->out != NULL) ||
			    c->next_out - c->unacknowledged > c->out_len + 2)
				abort();
		}
		data += used;
		size -= used;
	}
	dns_tcp_tick(&g.tcp, now_ns + DNS_TCP_IDLE_NS); /* all are ended */
	for (size_t i = 0; i < DNS_TCP_MAX; i++)
		if (g.tcp.all[i].state != DNS_TCP_FREE)
			abort();
	dns_tcp_done(&g.tcp);
	return 0;
}
