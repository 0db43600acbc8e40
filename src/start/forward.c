/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <mvm/instance.h>
#include <mvm/network.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"
#include "model/label.h"
#include "model/policy.h"

/* Parse "127.0.0.1" or "[::1]".  An IPv6 address becomes its shortest form, so that equal addresses
 * have equal texts. */
static bool take_address(const char *text, char *ret, size_t size)
{
	struct in_addr v4;
	struct in6_addr v6;
	size_t len = strlen(text);

	if (inet_pton(AF_INET, text, &v4) == 1)
		return inet_ntop(AF_INET, &v4, ret, (socklen_t)size) != NULL;
	if (len < 2 || len > INET6_ADDRSTRLEN || text[0] != '[' || text[len - 1] != ']')
		return false;
	char inside[INET6_ADDRSTRLEN + 1];
	snprintf(inside, sizeof(inside), "%.*s", (int)(len - 2), text + 1);
	return inet_pton(AF_INET6, inside, &v6) == 1 &&
	       inet_ntop(AF_INET6, &v6, ret, (socklen_t)size) != NULL;
}

int mvm_forward_parse(const char *text, struct mvm_forward *ret, struct mvm_error *err)
{
	struct mvm_forward f = { 0 };
	char copy[128], *rest = copy;
	uint64_t host = 0, guest = 0;

	int n = snprintf(copy, sizeof(copy), "%s", text);
	char *protocol = strchr(copy, '/');
	if (protocol)
		*protocol++ = '\0';
	bool ok = n < (int)sizeof(copy) &&
		  (!protocol || str_eq(protocol, "tcp") || str_eq(protocol, "udp"));
	f.udp = protocol && str_eq(protocol, "udp");

	char *last = strrchr(copy, ':');
	if (!last)
		ok = false;
	else
		*last++ = '\0';
	char *colon = ok ? strrchr(copy, ':') : NULL;
	if (colon) {
		*colon = '\0';
		rest = colon + 1;
		ok = take_address(copy, f.host_address, sizeof(f.host_address));
	}
	if (!ok || parse_u64(rest, 0, 65535, &host) < 0 || parse_u64(last, 1, 65535, &guest) < 0)
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no port forward: write [ADDRESS:]HOST:GUEST[/udp], "
				     "as in 8080:80 or [::1]:8080:80",
				     text);
	f.host_port = (uint16_t)host;
	f.guest_port = (uint16_t)guest;
	*ret = f;
	return 0;
}

int mvm_label_check(const char *text, struct mvm_error *err)
{
	return label_check(text, err);
}

int mvm_network_rule_check(const char *text, struct mvm_error *err)
{
	struct policy_rule rule;
	return policy_rule_parse(text, &rule, err);
}
