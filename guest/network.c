/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "agent.h"
#include "base/error.h"
#include "base/file.h"
#include "base/parse.h"
#include "etc.h"

int network_parse_cidr(const char *text, struct in_addr *ret_address, struct in_addr *ret_mask)
{
	char address[INET_ADDRSTRLEN];
	uint64_t bits;
	size_t len = strcspn(text, "/");

	if (text[len] != '/' || len >= sizeof(address) ||
	    parse_u64(text + len + 1, 1, 32, &bits) < 0)
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';
	struct in_addr parsed;
	if (inet_pton(AF_INET, address, &parsed) != 1)
		return -EINVAL;
	*ret_address = parsed;
	ret_mask->s_addr = htonl(UINT32_MAX << (32 - bits));
	return 0;
}

static int control_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static struct ifreq request_for(const char *interface)
{
	struct ifreq req = { 0 };
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", interface);
	return req;
}

static int bring_up(int fd, const char *interface)
{
	struct ifreq req = request_for(interface);
	if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
		return -errno;
	if (req.ifr_flags & IFF_UP)
		return 0;
	req.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &req) < 0 ? -errno : 0;
}

int network_loopback(struct mvm_error *err)
{
	AUTO_CLOSE int fd = control_socket();
	int r = fd < 0 ? fd : bring_up(fd, "lo");
	return r < 0 ? mvm_error_set(err, r, "cannot bring up loopback: %s", strerror(-r)) : 0;
}

/* Let every user bind low ports and ping, as docker, podman and containerd do: a user who may enter
 * the guest may use its network. */
void network_open_to_users(void)
{
	static const struct {
		const char *path, *value;
	} settings[] = {
		{ "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0" },
		{ "/proc/sys/net/ipv4/ping_group_range", "0 2147483647" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(settings); i++) {
		AUTO_CLOSE int fd = open(settings[i].path, O_WRONLY | O_CLOEXEC);
		int r = fd < 0 ? -errno
			       : file_write_all(fd, settings[i].value, strlen(settings[i].value));
		if (r < 0)
			agent_log("cannot set %s: %s", settings[i].path, strerror(-r));
	}
}

/* Find the network card: eth0, or the first Ethernet card if the guest's udev has renamed it. */
static int find_card(int fd, char ret[IF_NAMESIZE], struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	AUTO_CLOSE int dir = open("/sys/class/net", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? -errno : dir_list(dir, &names);
	if (r < 0)
		return mvm_error_set(err, r, "cannot list network cards: %s", strerror(-r));
	const char *found = strv_has(&names, "eth0") ? "eth0" : NULL;
	for (size_t i = 0; i < names.n && !found; i++) {
		struct ifreq req = request_for(names.v[i]);
		AUTO_FREE char *device = str_printf("/sys/class/net/%s/device", names.v[i]);
		if (device && access(device, F_OK) == 0 && ioctl(fd, SIOCGIFHWADDR, &req) == 0 &&
		    req.ifr_hwaddr.sa_family == ARPHRD_ETHER)
			found = names.v[i];
	}
	if (!found)
		return mvm_error_set(err, -ENODEV, "the guest has no network card");
	snprintf(ret, IF_NAMESIZE, "%s", found);
	return 0;
}

static void put_address(struct sockaddr *to, struct in_addr address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = address };
	memcpy(to, &in, sizeof(in));
}

/* Let the card have its IPv6 addresses at once: mvm's network is all that is at the other end.  The
 * search for duplicates takes two seconds, so that each clone would go on with the capture's: that
 * was half of the code that it ran for the first time in the two seconds after its answer. */
static void expect_no_duplicates(const char *card)
{
	char path[64 + IF_NAMESIZE];
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_dad", card);
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) /* else the guest has no IPv6 */
		file_write_all(fd, "0", 1);
}

/* Set the card's address.  To set the same address again changes nothing. */
static int set_address(int fd, const char *card, struct in_addr address, struct in_addr mask)
{
	struct ifreq req = request_for(card);
	put_address(&req.ifr_addr, address);
	if (ioctl(fd, SIOCSIFADDR, &req) < 0)
		return -errno;
	put_address(&req.ifr_netmask, mask);
	if (ioctl(fd, SIOCSIFNETMASK, &req) < 0)
		return -errno;
	expect_no_duplicates(card);
	return bring_up(fd, card);
}

static int change_route(int fd, unsigned long how, struct in_addr gateway)
{
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
	put_address(&route.rt_dst, (struct in_addr){ INADDR_ANY });
	put_address(&route.rt_genmask, (struct in_addr){ INADDR_ANY });
	put_address(&route.rt_gateway, gateway);
	return ioctl(fd, how, &route) < 0 ? -errno : 0;
}

static int set_gateway(int fd, const char *gateway, const char *old, struct mvm_error *err)
{
	struct in_addr address, old_address;
	if (inet_pton(AF_INET, gateway, &address) != 1)
		return mvm_error_set(err, -EINVAL, "'%s' is no gateway address", gateway);
	if (old && !str_eq(old, gateway) && inet_pton(AF_INET, old, &old_address) == 1)
		change_route(fd, SIOCDELRT, old_address); /* ESRCH: the route was removed already */
	int r = change_route(fd, SIOCADDRT, address);
	if (r < 0 && r != -EEXIST)
		return mvm_error_set(err, r, "cannot set the route through '%s': %s", gateway,
				     strerror(-r));
	return 0;
}

static int write_resolv_conf(const char *dns, struct mvm_error *err)
{
	struct in_addr address;
	char text[64];
	if (inet_pton(AF_INET, dns, &address) != 1)
		return mvm_error_set(err, -EINVAL, "'%s' is no name server's address", dns);
	snprintf(text, sizeof(text), "nameserver %s\n", dns);
	etc_write("resolv.conf", text, 0644);
	return 0;
}

void network_done(struct network *n)
{
	free(n->address);
	free(n->gateway);
	free(n->dns);
	*n = (struct network){ 0 };
}

static int remember(struct network *n, const char *address, const char *gateway, const char *dns,
		    struct mvm_error *err)
{
	bool failed = false;
	network_done(n);
	n->address = str_dup(address, &failed);
	n->gateway = str_dup(gateway, &failed);
	n->dns = str_dup(dns, &failed);
	return failed ? mvm_error_oom(err) : 0;
}

int network_configure(struct network *n, const char *address, const char *gateway, const char *dns,
		      struct mvm_error *err)
{
	struct in_addr ip, mask;
	char card[IF_NAMESIZE];

	if (!address ||
	    (str_eq(n->address, address) && str_eq(n->gateway, gateway) && str_eq(n->dns, dns)))
		return 0;
	if (network_parse_cidr(address, &ip, &mask) < 0)
		return mvm_error_set(err, -EINVAL, "'%s' is not ADDRESS/BITS", address);
	AUTO_CLOSE int fd = control_socket();
	if (fd < 0)
		return mvm_error_set(err, fd, "cannot configure the network: %s", strerror(-fd));
	int r = find_card(fd, card, err);
	if (r < 0)
		return r;
	r = set_address(fd, card, ip, mask);
	if (r < 0)
		return mvm_error_set(err, r, "cannot give %s the address '%s': %s", card, address,
				     strerror(-r));
	if (gateway)
		r = set_gateway(fd, gateway, n->gateway, err);
	if (r == 0 && dns)
		r = write_resolv_conf(dns, err);
	return r < 0 ? r : remember(n, address, gateway, dns, err);
}
