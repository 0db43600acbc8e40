/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/frame.h"

#include <string.h>

#define ETHERNET_HEAD 14u
#define IPV4_HEAD     20u
#define IPV6_HEAD     40u
#define UDP_HEAD      8u
#define FRAGMENT                                                                                   \
	1480u /* bytes of a body: 1500 without IPv4's head, rounded down to a multiple of 8 */
#define MORE_FRAGMENTS 0x2000u
#define TCP_HEAD       20u
#define ICMP_HEAD      8u

#define ETHERTYPE_V4  0x0800u
#define ETHERTYPE_ARP 0x0806u
#define ETHERTYPE_V6  0x86ddu

#define PROTOCOL_ICMP	1u
#define PROTOCOL_TCP	6u
#define PROTOCOL_UDP	17u
#define PROTOCOL_ICMPV6 58u

#define TCP_OPTION_MSS 2u

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static enum frame_kind read_udp(const uint8_t *p, size_t len, struct frame *ret)
{
	if (len < UDP_HEAD || get16(p + 4) < UDP_HEAD || get16(p + 4) > len)
		return FRAME_BAD;
	ret->from_port = get16(p);
	ret->to_port = get16(p + 2);
	ret->payload = p + UDP_HEAD;
	ret->payload_len = get16(p + 4) - UDP_HEAD;
	return FRAME_UDP;
}

static enum frame_kind read_tcp(const uint8_t *p, size_t len, struct frame *ret)
{
	if (len < TCP_HEAD)
		return FRAME_BAD;
	size_t head = (size_t)(p[12] >> 4) * 4;
	if (head < TCP_HEAD || head > len)
		return FRAME_BAD;
	ret->from_port = get16(p);
	ret->to_port = get16(p + 2);
	ret->flags = p[13];
	ret->opens = (ret->flags & (FRAME_SYN | FRAME_ACK)) == FRAME_SYN;
	ret->resets = (ret->flags & FRAME_RST) != 0;
	ret->sequence = get32(p + 4);
	ret->acknowledged = get32(p + 8);
	ret->window = get16(p + 14);
	ret->payload = p + head;
	ret->payload_len = len - head;
	return FRAME_TCP;
}

/* Echo, or an error that is about a flow: unreachable, time exceeded. */
static enum frame_kind read_icmp(const uint8_t *p, size_t len, struct frame *ret)
{
	if (len < ICMP_HEAD)
		return FRAME_BAD;
	ret->reports = p[0] == 3 || p[0] == 11;
	return p[0] == 8 || p[0] == 0 || p[0] == 3 || p[0] == 11 ? FRAME_PING : FRAME_BAD;
}

static enum frame_kind read_icmpv6(const uint8_t *p, size_t len, struct frame *ret)
{
	if (len < ICMP_HEAD)
		return FRAME_BAD;
	ret->reports = p[0] < 128;
	if (p[0] >= 133 && p[0] <= 136) /* router and neighbour discovery */
		return FRAME_ARP;
	return p[0] == 128 || p[0] == 129 || (p[0] >= 1 && p[0] <= 4) ? FRAME_PING : FRAME_BAD;
}

static enum frame_kind read_part(const uint8_t *ip, size_t len, struct frame *ret)
{
	unsigned at = get16(ip + 6) & 0x1fff;
	ret->part_of = get16(ip + 4);
	ret->is_first = at == 0;
	ret->is_last = !(ip[6] & 0x20);
	if (ip[9] != PROTOCOL_UDP || (ip[6] & 0x80) || (ret->is_first && len < UDP_HEAD))
		return FRAME_BAD;
	if (ret->is_first) {
		ret->from_port = get16(ip + IPV4_HEAD);
		ret->to_port = get16(ip + IPV4_HEAD + 2);
	}
	return FRAME_PART;
}

static enum frame_kind read_v4(const uint8_t *p, size_t len, struct frame *ret)
{
	if (len < IPV4_HEAD || p[0] >> 4 != 4)
		return FRAME_BAD;
	size_t head = (size_t)(p[0] & 0x0f) * 4, total = get16(p + 2);
	/* IP options could route it elsewhere */
	if (head != IPV4_HEAD || total < head || total > len)
		return FRAME_BAD;
	ret->from = policy_address_v4(p + 12);
	ret->to = policy_address_v4(p + 16);
	if ((get16(p + 6) & 0xbfff) != 0)
		return read_part(p, total - head, ret);
	if (p[9] == PROTOCOL_UDP)
		return read_udp(p + head, total - head, ret);
	if (p[9] == PROTOCOL_TCP)
		return read_tcp(p + head, total - head, ret);
	return p[9] == PROTOCOL_ICMP ? read_icmp(p + head, total - head, ret) : FRAME_BAD;
}

static enum frame_kind read_v6(const uint8_t *p, size_t len, struct frame *ret)
{
	if (len < IPV6_HEAD || p[0] >> 4 != 6 || get16(p + 4) > len - IPV6_HEAD)
		return FRAME_BAD;
	size_t body = get16(p + 4);
	memcpy(ret->from.bytes, p + 8, 16);
	memcpy(ret->to.bytes, p + 24, 16);
	if (policy_is_v4(&ret->from) || policy_is_v4(&ret->to))
		return FRAME_BAD; /* the host's kernel would speak IPv4 to this address */
	if (p[6] == PROTOCOL_UDP)
		return read_udp(p + IPV6_HEAD, body, ret);
	if (p[6] == PROTOCOL_TCP)
		return read_tcp(p + IPV6_HEAD, body, ret);
	return p[6] == PROTOCOL_ICMPV6 ? read_icmpv6(p + IPV6_HEAD, body, ret) : FRAME_BAD;
}

enum frame_kind frame_read(const uint8_t *data, size_t len, struct frame *ret)
{
	*ret = (struct frame){ .kind = FRAME_BAD };
	if (len < ETHERNET_HEAD || len > FRAME_READ_MAX)
		return FRAME_BAD;
	const uint8_t *body = data + ETHERNET_HEAD;
	switch (get16(data + 12)) {
	case ETHERTYPE_ARP:
		ret->kind = FRAME_ARP;
		break;
	case ETHERTYPE_V4:
		ret->kind = read_v4(body, len - ETHERNET_HEAD, ret);
		break;
	case ETHERTYPE_V6:
		ret->kind = read_v6(body, len - ETHERNET_HEAD, ret);
		break;
	default:
		break;
	}
	return ret->kind;
}

/* ---- writing ---- */

static uint32_t sum_of(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	return len % 2 ? sum + ((uint32_t)p[len - 1] << 8) : sum;
}

static uint16_t checksum_of(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Write the heads of a packet with body_len bytes behind them.  Returns where the body begins;
 * *ret_sum is the start value of a checksum over the body. */
static uint8_t *write_ip(uint8_t *ret, const struct policy_address *from,
			 const struct policy_address *to, unsigned protocol, size_t body_len,
			 uint32_t *ret_sum)
{
	uint8_t *ip = ret + ETHERNET_HEAD;
	*ret_sum = (uint32_t)(protocol + body_len);
	if (policy_is_v4(from)) {
		memset(ip, 0, IPV4_HEAD);
		put16(ret + 12, ETHERTYPE_V4);
		ip[0] = 0x45;
		put16(ip + 2, IPV4_HEAD + body_len);
		ip[8] = 64;
		ip[9] = (uint8_t)protocol;
		memcpy(ip + 12, from->bytes + 12, 4);
		memcpy(ip + 16, to->bytes + 12, 4);
		put16(ip + 10, checksum_of(sum_of(0, ip, IPV4_HEAD)));
		*ret_sum = sum_of(*ret_sum, ip + 12, 8);
		return ip + IPV4_HEAD;
	}
	memset(ip, 0, IPV6_HEAD);
	put16(ret + 12, ETHERTYPE_V6);
	ip[0] = 0x60;
	put16(ip + 4, body_len);
	ip[6] = (uint8_t)protocol;
	ip[7] = 64;
	memcpy(ip + 8, from->bytes, 16);
	memcpy(ip + 24, to->bytes, 16);
	*ret_sum = sum_of(*ret_sum, ip + 8, 32);
	return ip + IPV6_HEAD;
}

size_t frame_write_udp(const uint8_t to_mac[6], const uint8_t from_mac[6], const struct frame *f,
		       uint8_t ret[FRAME_MAX])
{
	size_t udp_len = UDP_HEAD + f->payload_len;
	uint32_t sum;
	if (f->payload_len > FRAME_MAX || IPV6_HEAD + udp_len > 1500)
		return 0;
	memcpy(ret, to_mac, 6);
	memcpy(ret + 6, from_mac, 6);
	uint8_t *udp = write_ip(ret, &f->from, &f->to, PROTOCOL_UDP, udp_len, &sum);
	put16(udp, f->from_port);
	put16(udp + 2, f->to_port);
	put16(udp + 4, udp_len);
	put16(udp + 6, 0);
	memcpy(udp + UDP_HEAD, f->payload, f->payload_len);
	uint16_t checksum = checksum_of(sum_of(sum, udp, udp_len));
	put16(udp + 6, checksum ? checksum : 0xffff);
	return (size_t)(udp - ret) + udp_len;
}

size_t frame_write_udp_part(const uint8_t to_mac[6], const uint8_t from_mac[6],
			    const struct frame *f, uint16_t id, size_t *at, uint8_t ret[FRAME_MAX])
{
	size_t body = UDP_HEAD + f->payload_len, len = body - *at;
	uint8_t head[UDP_HEAD] = { 0 };
	uint32_t sum;
	if (*at >= body || body > UINT16_MAX - IPV4_HEAD)
		return 0;
	len = len < FRAGMENT ? len : FRAGMENT;
	memcpy(ret, to_mac, 6);
	memcpy(ret + 6, from_mac, 6);
	write_ip(ret, &f->from, &f->to, PROTOCOL_UDP, body, &sum);
	uint8_t *ip = ret + ETHERNET_HEAD, *to = ip + IPV4_HEAD;
	put16(ip + 2, IPV4_HEAD + len);
	put16(ip + 4, id);
	put16(ip + 6, (*at / 8) | (*at + len < body ? MORE_FRAGMENTS : 0));
	put16(ip + 10, 0);
	put16(ip + 10, checksum_of(sum_of(0, ip, IPV4_HEAD)));
	size_t skip = *at ? 0 : UDP_HEAD;
	if (*at == 0) {
		put16(head, f->from_port);
		put16(head + 2, f->to_port);
		put16(head + 4, body);
		uint32_t head_sum = sum_of(sum, head, UDP_HEAD);
		uint16_t checksum = checksum_of(sum_of(head_sum, f->payload, f->payload_len));
		put16(head + 6, checksum ? checksum : 0xffff);
		memcpy(to, head, UDP_HEAD);
	}
	memcpy(to + skip, f->payload + (*at ? *at - UDP_HEAD : 0), len - skip);
	*at += len;
	return ETHERNET_HEAD + IPV4_HEAD + len;
}

size_t frame_write_prohibited(const uint8_t *data, size_t len, const struct policy_address *from,
			      uint8_t ret[FRAME_MAX])
{
	struct frame heads;
	bool v4 = policy_is_v4(from);
	size_t quoted = (v4 ? IPV4_HEAD : IPV6_HEAD) +
			8u; /* RFC 792: the packet's head and 8 bytes */
	uint32_t sum;
	if (frame_read(data, len, &heads) == FRAME_BAD || len < ETHERNET_HEAD + quoted)
		return 0;
	memcpy(ret, data + 6, 6);
	memcpy(ret + 6, data, 6);
	uint8_t *icmp = write_ip(ret, from, &heads.from, v4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6,
				 ICMP_HEAD + quoted, &sum);
	memset(icmp, 0, ICMP_HEAD);
	icmp[0] = v4 ? 3 : 1;
	icmp[1] = v4 ? 13 : 1;
	memcpy(icmp + ICMP_HEAD, data + ETHERNET_HEAD, quoted);
	put16(icmp + 2, checksum_of(sum_of(v4 ? 0 : sum, icmp, ICMP_HEAD + quoted)));
	return (size_t)(icmp - ret) + ICMP_HEAD + quoted;
}

size_t frame_write_tcp(const uint8_t to_mac[6], const uint8_t from_mac[6], const struct frame *f,
		       uint8_t ret[FRAME_MAX])
{
	size_t head = TCP_HEAD + (f->flags & FRAME_SYN ? 4u : 0u);
	size_t tcp_len = head + f->payload_len;
	uint32_t sum;
	if (f->payload_len > FRAME_MAX || IPV6_HEAD + tcp_len > 1500)
		return 0;
	memcpy(ret, to_mac, 6);
	memcpy(ret + 6, from_mac, 6);
	uint8_t *tcp = write_ip(ret, &f->from, &f->to, PROTOCOL_TCP, tcp_len, &sum);
	memset(tcp, 0, TCP_HEAD);
	put16(tcp, f->from_port);
	put16(tcp + 2, f->to_port);
	put32(tcp + 4, f->sequence);
	put32(tcp + 8, f->acknowledged);
	tcp[12] = (uint8_t)(head / 4 << 4);
	tcp[13] = f->flags;
	put16(tcp + 14, f->window);
	if (f->flags & FRAME_SYN) {
		tcp[TCP_HEAD] = TCP_OPTION_MSS;
		tcp[TCP_HEAD + 1] = 4;
		put16(tcp + TCP_HEAD + 2, FRAME_SEGMENT);
	}
	if (f->payload_len > 0)
		memcpy(tcp + head, f->payload, f->payload_len);
	put16(tcp + 16, checksum_of(sum_of(sum, tcp, tcp_len)));
	return (size_t)(tcp - ret) + tcp_len;
}

size_t frame_write_reset(const uint8_t *data, size_t len, uint8_t ret[FRAME_MAX])
{
	struct frame f;
	if (frame_read(data, len, &f) != FRAME_TCP || f.resets)
		return 0;
	uint32_t end = f.sequence + (uint32_t)f.payload_len + ((f.flags & FRAME_SYN) != 0) +
		       ((f.flags & FRAME_FIN) != 0);
	bool knows = f.flags & FRAME_ACK; /* the number that the guest waits for */
	const struct frame reset = {
		.from = f.to,
		.to = f.from,
		.from_port = f.to_port,
		.to_port = f.from_port,
		.flags = FRAME_RST | (knows ? 0 : FRAME_ACK),
		.sequence = knows ? f.acknowledged : 0,
		.acknowledged = knows ? 0 : end,
	};
	return frame_write_tcp(data + 6, data, &reset, ret);
}
