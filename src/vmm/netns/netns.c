/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/netns/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "base/parse.h"
#include "base/str.h"
#include "vmm/name_servers.h"
#include "vmm/netns/netns_priv.h"
#include "vmm/netns/relay.h"
#include "vmm/privilege.h"

#define DNS_PORT    53
#define BACKLOG	    128
#define FORWARD_MAX 192 /* connections of one port */
#define NAMES_MAX   64	/* the guest must not use up our descriptors */

enum port_kind {
	PORT_FORWARD, /* to the guest */
	PORT_NAMES,   /* to the host's name server */
	PORT_HOST,    /* to the host's loopback */
};

/* One relay and where it leads. */
struct port {
	struct relay *relay;
	struct netns *netns;
	enum port_kind kind;
	uint16_t number; /* unless PORT_NAMES */
};

struct netns {
	struct loop *loop;
	struct netns_parts parts;
	struct sockaddr_storage dns; /* ss_family 0: the host's */
	size_t n_ports;
	struct port **ports; /* one for each forward, two for names and for each port of the host */
};

const char *netns_obstacle(void)
{
	char value = '0';
	if (!privilege_has(CAP_NET_ADMIN) || !privilege_has(CAP_SYS_ADMIN))
		return "its network needs root, to make network namespaces and tap devices";
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return "its network needs /dev/net/tun: modprobe tun";
	AUTO_CLOSE int fd = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, &value, 1) != 1 || value == '0')
		return "its network needs this host to forward packets: sysctl -w "
		       "net.ipv4.ip_forward=1";
	return NULL;
}

/* ---- where relays lead ---- */

int netns_name_server(const char *text, struct sockaddr_storage *ret)
{
	AUTO_DONE(strv) servers = { 0 };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(DNS_PORT) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT) };
	uint64_t interface = 0;
	name_servers_read(text, &servers, NULL);
	if (servers.n == 0 || servers.failed)
		return -ENOENT;
	char *scope = strchr(servers.v[0], '%');
	if (scope) {
		*scope = '\0';
		parse_u64(scope + 1, 1, INT32_MAX, &interface); /* as it was written there */
	}
	in6.sin6_scope_id = (uint32_t)interface;
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, servers.v[0], &in.sin_addr) == 1)
		memcpy(ret, &in, sizeof(in));
	else if (inet_pton(AF_INET6, servers.v[0], &in6.sin6_addr) == 1)
		memcpy(ret, &in6, sizeof(in6));
	return 0;
}

/* Read the file each time: the host may have moved to another network. */
static int find_name_server(struct sockaddr_storage *ret)
{
	AUTO_FREE char *text = name_servers_text();
	return text ? netns_name_server(text, ret) : -ENOMEM;
}

static int connect_to(const struct sockaddr_storage *to, int type)
{
	socklen_t len = to->ss_family == AF_INET ? sizeof(struct sockaddr_in)
						 : sizeof(struct sockaddr_in6);
	AUTO_CLOSE int fd = socket(to->ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)to, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

static struct sockaddr_storage ipv4(const char *address, uint16_t port)
{
	struct sockaddr_storage ret = { 0 };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, address, &in.sin_addr); /* our constant, or checked before */
	memcpy(&ret, &in, sizeof(in));
	return ret;
}

static int dial(void *arg, int type)
{
	struct port *p = arg;
	struct sockaddr_storage to = { 0 };
	int r = 0;
	if (p->kind == PORT_HOST) {
		to = ipv4("127.0.0.1", p->number);
		return connect_to(&to, type);
	}
	if (p->kind == PORT_NAMES) {
		to = p->netns->dns;
		if (to.ss_family == AF_UNSPEC)
			r = find_name_server(&to);
		return r < 0 ? r : connect_to(&to, type);
	}
	to = ipv4(NETNS_GUEST, p->number);
	r = netns_enter(&p->netns->parts);
	if (r < 0)
		return r;
	int fd = connect_to(&to, type);
	r = netns_leave(&p->netns->parts);
	if (r < 0 && fd >= 0)
		close(TAKE_FD(fd));
	return r < 0 ? r : fd;
}

/* ---- where they listen ---- */

static int listen_on(const char *address, uint16_t port, bool udp)
{
	const int one = 1;
	struct sockaddr_storage at = ipv4(address, port);
	AUTO_CLOSE int fd = socket(
		AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* so that connections which are still closing do not keep the port.  For UDP this option
	 * would share the port with another socket */
	if (!udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&at, sizeof(struct sockaddr_in)) < 0)
		return -errno;
	if (!udp && listen(fd, BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* Takes the socket over.  listen_fd may be -errno, which is then the result. */
static int add_port(struct netns *n, int listen_fd, bool udp, enum port_kind kind, uint16_t number)
{
	AUTO_CLOSE int fd = listen_fd;
	if (fd < 0)
		return fd;
	struct port **grown = realloc(n->ports, (n->n_ports + 1) * sizeof(struct port *));
	if (!grown)
		return -ENOMEM;
	n->ports = grown;
	AUTO_FREE struct port *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->netns = n;
	p->kind = kind;
	p->number = number;
	size_t max = kind == PORT_NAMES ? NAMES_MAX : FORWARD_MAX;
	int r = relay_new(n->loop, fd, udp, max, dial, p, &p->relay);
	if (r < 0)
		return r;
	(void)TAKE_FD(fd);
	n->ports[n->n_ports++] = TAKE_PTR(p);
	return 0;
}

int netns_forward(struct netns *n, const struct vmm_forward *f, struct mvm_error *err)
{
	struct in_addr address;
	if (inet_pton(AF_INET, f->host_address, &address) != 1)
		return mvm_error_set(err, -EOPNOTSUPP,
				     "only ports of IPv4 addresses can be forwarded, not of '%s'",
				     f->host_address);
	int r = add_port(n, listen_on(f->host_address, f->host_port, f->udp), f->udp, PORT_FORWARD,
			 f->guest_port);
	if (r < 0)
		return mvm_error_set(err, r, "cannot forward %s port %u of %s: %s",
				     f->udp ? "UDP" : "TCP", f->host_port, f->host_address,
				     strerror(-r));
	return 0;
}

/* In the VM's namespace. */
static int add_inner_port(struct netns *n, const char *address, uint16_t port, enum port_kind kind)
{
	int r = netns_enter(&n->parts);
	if (r < 0)
		return r;
	AUTO_CLOSE int tcp = listen_on(address, port, false);
	AUTO_CLOSE int udp = listen_on(address, port, true);
	r = netns_leave(&n->parts);
	if (r == 0)
		r = add_port(n, TAKE_FD(tcp), false, kind, port);
	if (r == 0)
		r = add_port(n, TAKE_FD(udp), true, kind, port);
	return r;
}

static void port_free(struct port *p)
{
	relay_free(p->relay);
	free(p);
}

/* All ports that rules have opened. */
static void close_inner_ports(struct netns *n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n->n_ports; i++) {
		if (n->ports[i]->kind == PORT_FORWARD)
			n->ports[kept++] = n->ports[i];
		else
			port_free(n->ports[i]);
	}
	n->n_ports = kept;
}

static int add_inner_ports(struct netns *n, const struct wall *wall, struct mvm_error *err)
{
	int r = wall->names ? add_inner_port(n, NETNS_DNS, DNS_PORT, PORT_NAMES) : 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot serve names to the VM: %s", strerror(-r));
	for (size_t i = 0; i < wall->n_ports; i++) {
		r = add_inner_port(n, NETNS_GATEWAY, wall->ports[i], PORT_HOST);
		if (r < 0)
			return mvm_error_set(err, r, "cannot open the host's port %u: %s",
					     wall->ports[i], strerror(-r));
	}
	return 0;
}

static int read_rules(const struct vmm_network *rules, struct wall *ret, struct mvm_error *err)
{
	return wall_read(rules->allow, rules->n_allow, rules->deny, rules->n_deny, ret, err);
}

/* The first name server of the rules; without one, the host's, asked for each time. */
static void take_dns(struct netns *n, const struct vmm_network *rules)
{
	char line[80];
	n->dns.ss_family = AF_UNSPEC;
	if (rules->n_dns == 0)
		return;
	snprintf(line, sizeof(line), "nameserver %s", rules->dns[0]);
	netns_name_server(line, &n->dns); /* an address, as the template was checked for */
}

int netns_rules(struct netns *n, const struct vmm_network *rules, struct mvm_error *err)
{
	AUTO_FREE struct wall *wall = calloc(1, sizeof(*wall));
	if (!wall)
		return mvm_error_oom(err);
	int r = read_rules(rules, wall, err);
	if (r == 0)
		r = netns_parts_rules(&n->parts, wall, err);
	if (r < 0)
		return r;
	take_dns(n, rules);
	close_inner_ports(n);
	r = add_inner_ports(n, wall, err);
	if (r < 0)
		return r;
	r = netns_parts_hold(&n->parts, false, n->parts.quiet);
	return r < 0 ? mvm_error_set(err, r, "cannot open the VM's network: %s", strerror(-r)) : 0;
}

int netns_quiet(struct netns *n, bool quiet)
{
	return netns_parts_hold(&n->parts, n->parts.held, quiet);
}

int netns_new(struct loop *loop, const struct vmm_forward *forwards, size_t n_forwards,
	      const struct vmm_network *rules, uid_t tap_uid, bool held, struct netns **ret,
	      struct mvm_error *err)
{
	const char *obstacle = netns_obstacle();
	if (obstacle)
		return mvm_error_set(err, -EOPNOTSUPP, "%s", obstacle);
	AUTO_FREE struct wall *wall = calloc(1, sizeof(*wall));
	AUTO(netns) n = calloc(1, sizeof(*n));
	if (!n || !wall)
		return mvm_error_oom(err);
	n->loop = loop;
	n->parts = (struct netns_parts)NETNS_PARTS_NONE;
	take_dns(n, rules);
	int r = read_rules(rules, wall, err);
	for (size_t i = 0; i < n_forwards && r == 0; i++) /* first what fails most often */
		r = netns_forward(n, &forwards[i], err);
	if (r == 0)
		r = netns_build(&n->parts, tap_uid, held, wall, err);
	if (r == 0)
		r = add_inner_ports(n, wall, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(n);
	return 0;
}

int netns_spawn(struct netns *n, const struct process_spec *spec, struct process *ret)
{
	int r = netns_enter(&n->parts);
	if (r < 0)
		return r;
	r = process_spawn(spec, ret);
	int left = netns_leave(&n->parts);
	if (left == 0 || r < 0)
		return r;
	process_kill(ret);
	return left;
}

void netns_free(struct netns *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->n_ports; i++)
		port_free(n->ports[i]);
	free(n->ports);
	netns_parts_done(&n->parts);
	free(n);
}
