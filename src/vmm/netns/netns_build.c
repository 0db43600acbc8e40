/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"
#include "vmm/netns/nat.h"
#include "vmm/netns/netlink.h"
#include "vmm/netns/netns.h"
#include "vmm/netns/netns_priv.h"

#define UPLINK	      "up0"
#define POOL	      0xc6120000u /* 198.18.0.0/15 */
#define POOL_LINKS    32768u	  /* of four addresses each */
#define LINK_BITS     30
#define GUEST_BITS    24
#define LINK_ATTEMPTS 200u

/* Every VM has the same, because restored guests remember it. */
static const uint8_t tap_mac[6] = { 0x52, 0x54, 0x00, 0x6d, 0x76, 0x02 };

static struct in_addr pool_address(int index, unsigned which)
{
	return (struct in_addr){ htonl(POOL + (uint32_t)index * 4 + which) };
}

static void link_name(int index, char ret[IFNAMSIZ])
{
	snprintf(ret, IFNAMSIZ, "mvm%d", index);
}

/* ---- namespaces ---- */

int netns_enter(const struct netns_parts *p)
{
	return setns(p->vm_fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

int netns_leave(const struct netns_parts *p)
{
	return setns(p->host_fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

static int open_current(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- devices ---- */

/* Make a pair of links, one end in each namespace.  -EEXIST: another VM has this index. */
static int make_pair(int route_fd, int index, int vm_fd)
{
	const struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct nl m = { 0 };
	char name[IFNAMSIZ];
	link_name(index, name);
	nl_message(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &info, sizeof(info));
	nl_string(&m, IFLA_IFNAME, name);
	size_t link = nl_nest(&m, IFLA_LINKINFO);
	nl_string(&m, IFLA_INFO_KIND, "veth");
	size_t data = nl_nest(&m, IFLA_INFO_DATA);
	size_t peer = nl_nest(&m, VETH_INFO_PEER);
	nl_bytes(&m, &info, sizeof(info));
	nl_string(&m, IFLA_IFNAME, UPLINK);
	nl_u32(&m, IFLA_NET_NS_FD, (uint32_t)vm_fd);
	nl_nest_end(&m, peer);
	nl_nest_end(&m, data);
	nl_nest_end(&m, link);
	return nl_do(route_fd, &m);
}

static int make_any_pair(int route_fd, int vm_fd, int *ret_index)
{
	uint32_t start;
	random_bytes(&start, sizeof(start));
	for (uint32_t i = 0; i < LINK_ATTEMPTS; i++) {
		int index = (int)((start + i) % POOL_LINKS);
		int r = make_pair(route_fd, index, vm_fd);
		if (r == 0)
			*ret_index = index;
		if (r != -EEXIST)
			return r;
	}
	return -EBUSY;
}

/* Make a tap device that stays until its namespace goes. */
static int make_tap(uid_t owner)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	snprintf(req.ifr_name, sizeof(req.ifr_name), NETNS_TAP);
	AUTO_CLOSE int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &req) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return -errno;
	if (owner != (uid_t)-1 && ioctl(fd, TUNSETOWNER, (unsigned long)owner) < 0)
		return -errno;
	return 0;
}

static void add_address(struct nl *m, unsigned device, struct in_addr address, uint8_t bits)
{
	const struct ifaddrmsg info = {
		.ifa_family = AF_INET,
		.ifa_prefixlen = bits,
		.ifa_index = device,
	};
	nl_message(m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &info, sizeof(info));
	nl_attr(m, IFA_LOCAL, &address, sizeof(address));
	nl_attr(m, IFA_ADDRESS, &address, sizeof(address));
}

static void set_link(struct nl *m, unsigned device, bool up, const uint8_t *mac)
{
	const struct ifinfomsg info = {
		.ifi_family = AF_UNSPEC,
		.ifi_index = (int)device,
		.ifi_flags = up ? IFF_UP : 0,
		.ifi_change = IFF_UP,
	};
	nl_message(m, RTM_NEWLINK, NLM_F_ACK, &info, sizeof(info));
	if (mac)
		nl_attr(m, IFLA_ADDRESS, mac, sizeof(tap_mac));
}

static void add_default_route(struct nl *m, struct in_addr gateway)
{
	const struct rtmsg info = {
		.rtm_family = AF_INET,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
	};
	nl_message(m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &info, sizeof(info));
	nl_attr(m, RTA_GATEWAY, &gateway, sizeof(gateway));
}

static struct in_addr constant(const char *text)
{
	struct in_addr address = { 0 };
	inet_pton(AF_INET, text, &address); /* cannot fail for our constants */
	return address;
}

static int configure_host(int route_fd, int index)
{
	struct nl m = { 0 };
	char name[IFNAMSIZ];
	link_name(index, name);
	unsigned device = if_nametoindex(name);
	if (!device)
		return -errno;
	add_address(&m, device, pool_address(index, 1), LINK_BITS);
	set_link(&m, device, true, NULL);
	return nl_do(route_fd, &m);
}

/* Called in the VM's namespace.  held: the tap device stays down, where it takes no packet from
 * either side. */
static int configure_vm(int route_fd, int index, bool held)
{
	struct nl m = { 0 };
	unsigned lo = if_nametoindex("lo"), up = if_nametoindex(UPLINK),
		 tap = if_nametoindex(NETNS_TAP);
	if (!lo || !up || !tap)
		return -errno;
	set_link(&m, lo, true, NULL);
	set_link(&m, tap, !held, tap_mac);
	add_address(&m, tap, constant(NETNS_GATEWAY), GUEST_BITS);
	add_address(&m, tap, constant(NETNS_DNS), GUEST_BITS);
	add_address(&m, up, pool_address(index, 2), LINK_BITS);
	set_link(&m, up, true, NULL);
	add_default_route(&m, pool_address(index, 1));
	return nl_do(route_fd, &m);
}

static int set_sysctl(const char *path, const char *value)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/* ---- all of it ---- */

/* Called in the VM's namespace: make everything there that needs nothing of the host's. */
static int prepare_inside(struct netns_parts *p, uid_t tap_uid, int *ret_route_fd)
{
	p->vm_fd = open_current();
	if (p->vm_fd < 0)
		return p->vm_fd;
	p->vm_nat_fd = nl_open(NETLINK_NETFILTER);
	if (p->vm_nat_fd < 0)
		return p->vm_nat_fd;
	*ret_route_fd = nl_open(NETLINK_ROUTE);
	if (*ret_route_fd < 0)
		return *ret_route_fd;
	/* nobody uses IPv6 here; if this fails, there is only useless traffic */
	set_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	/* every refusal is told, not one a second */
	set_sysctl("/proc/sys/net/ipv4/icmp_ratelimit", "0");
	int r = set_sysctl("/proc/sys/net/ipv4/ip_forward", "1");
	return r < 0 ? r : make_tap(tap_uid);
}

static int finish_inside(const struct netns_parts *p, int route_fd)
{
	int r = netns_enter(p);
	if (r < 0)
		return r;
	r = configure_vm(route_fd, p->index, p->held);
	int left = netns_leave(p);
	return r < 0 ? r : left;
}

static int build(struct netns_parts *p, uid_t tap_uid, const char **ret_what)
{
	AUTO_CLOSE int vm_route_fd = -1;
	char name[IFNAMSIZ];

	*ret_what = "network namespace";
	p->host_fd = open_current();
	if (p->host_fd < 0)
		return p->host_fd;
	AUTO_CLOSE int route_fd = nl_open(NETLINK_ROUTE);
	p->host_nat_fd = nl_open(NETLINK_NETFILTER);
	if (route_fd < 0 || p->host_nat_fd < 0)
		return route_fd < 0 ? route_fd : p->host_nat_fd;
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	*ret_what = "tap device";
	int r = prepare_inside(p, tap_uid, &vm_route_fd);
	int left = netns_leave(p);
	if (r < 0 || left < 0)
		return r < 0 ? r : left;

	*ret_what = "pair of links";
	r = make_any_pair(route_fd, p->vm_fd, &p->index);
	if (r == 0)
		r = configure_host(route_fd, p->index);
	if (r == 0)
		r = finish_inside(p, vm_route_fd);
	if (r < 0)
		return r;
	*ret_what = "address translation";
	link_name(p->index, name);
	r = nat_masquerade(p->host_nat_fd, name, pool_address(p->index, 2), name);
	if (r == 0)
		r = nat_masquerade(p->vm_nat_fd, "mvm", constant(NETNS_GUEST), NETNS_TAP);
	return r;
}

int netns_build(struct netns_parts *p, uid_t tap_uid, bool held, const struct wall *wall,
		struct mvm_error *err)
{
	const char *what;
	p->held = held;
	int r = build(p, tap_uid, &what);
	if (r < 0)
		return mvm_error_set(err, r, "cannot make the VM's %s: %s", what, strerror(-r));
	return netns_parts_rules(p, wall, err);
}

/* Of the host's addresses only the host's namespace knows. */
int netns_parts_rules(struct netns_parts *p, const struct wall *wall, struct mvm_error *err)
{
	char name[IFNAMSIZ];
	link_name(p->index, name);
	int r = nat_guard(p->host_nat_fd, name, NAT_GUARD_LOCAL, name, wall->host, wall->n_host,
			  p->n_host_rules);
	p->n_host_rules += r == 0;
	if (r == 0)
		r = nat_guard(p->vm_nat_fd, "mvm", NAT_GUARD_FORWARDED, NETNS_TAP, wall->steps,
			      wall->n, p->n_vm_rules);
	p->n_vm_rules += r == 0;
	return r < 0 ? mvm_error_set(err, r, "cannot make the rules of the VM's network: %s",
				     strerror(-r))
		     : 0;
}

/* Called in the VM's namespace. */
static int set_tap(bool up)
{
	struct nl m = { 0 };
	AUTO_CLOSE int route_fd = nl_open(NETLINK_ROUTE);
	unsigned tap = if_nametoindex(NETNS_TAP);
	if (route_fd < 0 || !tap)
		return route_fd < 0 ? route_fd : -errno;
	set_link(&m, tap, up, NULL);
	return nl_do(route_fd, &m);
}

int netns_parts_hold(struct netns_parts *p, bool held, bool quiet)
{
	int r = 0;
	if ((held || quiet) != (p->held || p->quiet)) {
		r = netns_enter(p);
		if (r < 0)
			return r;
		r = set_tap(!held && !quiet);
		int left = netns_leave(p);
		r = r < 0 ? r : left;
	}
	if (r < 0)
		return r;
	p->held = held;
	p->quiet = quiet;
	return 0;
}

void netns_parts_done(struct netns_parts *p)
{
	auto_close(&p->host_nat_fd);
	auto_close(&p->vm_nat_fd);
	auto_close(&p->vm_fd);
	auto_close(&p->host_fd);
	*p = (struct netns_parts)NETNS_PARTS_NONE;
}
