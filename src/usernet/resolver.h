/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_RESOLVER_H
#define USERNET_RESOLVER_H

/*
 * Passes a guest's questions on to the resolvers of the host, and their replies back.
 *
 * A question that came by TCP goes out by TCP: its answer may have any length.
 *
 * A question goes to the server that answered last.  When that one fails, the next is asked at
 * once; when it is silent for RESOLVER_SILENCE_NS, the next is asked as well, and the first answer
 * counts.  If no server answers, the guest gets a failure.
 *
 * Each question goes out from a socket of its own, connected to one resolver.  The kernel chooses
 * the port and we choose the id, so both are hard to guess, and clones do not share them.  A new
 * question that finds no place replaces the oldest one.
 *
 * Source: RFC 5452 (how to be hard to forge).
 */

#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>

#include "usernet/dns.h"
#include "usernet/frame.h"

#define RESOLVER_SERVERS_MAX  POLICY_DNS_MAX
#define RESOLVER_ADDRESS_SIZE 64u /* with the number of an interface */
#define RESOLVER_PENDING_MAX  64u
#define RESOLVER_PATIENCE_NS  (10ll * 1000000000)
#define RESOLVER_SILENCE_NS   (1ll * 1000000000) /* then another server is asked, too */

/* Who asked: the heads of the question's frame, to send the reply. */
struct resolver_asker {
	uint8_t mac[6], our_mac[6];
	struct policy_address address, our_address;
	uint16_t port;
	uint16_t id;
	uint64_t tcp; /* number of its connection (dns_tcp.h); 0: it asks by UDP */
};

struct resolver {
	struct sockaddr_in6 servers[RESOLVER_SERVERS_MAX]; /* or sockaddr_in within */
	size_t n_servers;
	size_t best;   /* server that gets the next question first */
	uint64_t last; /* number of the last question */
	struct resolver_pending {
		int fd; /* -1: a free place */
		uint16_t id;
		uint64_t number; /* the same for all servers that get this question */
		size_t server;
		unsigned tried;	  /* bits of the servers that were asked */
		int64_t again_ns; /* when to ask another server as well */
		int64_t deadline_ns;
		uint8_t message[DNS_MESSAGE_MAX];
		size_t message_len;
		uint8_t *stream;     /* TCP: the question to send, then room for the reply */
		size_t len, to_send; /* bytes in it; those of them that are the question's */
		struct resolver_asker asker;
		struct dns_question question;
	} pending[RESOLVER_PENDING_MAX];
};

/* Called with the reply for the guest: a server's, or a failure.  Its id is the asker's. */
typedef void (*resolver_reply_fn)(void *arg, const struct resolver_asker *asker,
				  const struct dns_question *question, uint8_t *message,
				  size_t len);

void resolver_init(struct resolver *r);
void resolver_done(struct resolver *r);

/* Add a server by its numeric address; a link-local one as fe80::1%3, with the number of the
 * interface.  Returns 0, -EINVAL or -E2BIG. */
int resolver_add(struct resolver *r, const char *address);

/* Forget all servers; others follow.  Open questions do not go to the new ones. */
void resolver_forget(struct resolver *r);

/* Ask.  Returns 0, -EDESTADDRREQ without a server, or -errno. */
int resolver_ask(struct resolver *r, const struct resolver_asker *asker,
		 const struct dns_question *question, const uint8_t *message, size_t len,
		 int64_t now_ns);

/* Add the descriptors to poll.  Returns their number; fds has room for RESOLVER_PENDING_MAX. */
size_t resolver_poll(const struct resolver *r, struct pollfd *fds);

/* When resolver_serve() must run though no reply has come; INT64_MAX: never. */
int64_t resolver_next_ns(const struct resolver *r);

/* Take the replies that have come, and give up questions that are too old. */
void resolver_serve(struct resolver *r, int64_t now_ns, resolver_reply_fn fn, void *arg);

#endif
