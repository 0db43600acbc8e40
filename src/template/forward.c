/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <mvm/instance.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"

int mvm_forward_parse(const char *text, struct mvm_forward *ret, struct mvm_error *err)
{
	struct mvm_forward f = { 0 };
	char copy[128], *rest = copy;
	uint64_t host = 0, guest = 0;
	struct in_addr address;

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
		ok = inet_pton(AF_INET, copy, &address) == 1;
		(void)snprintf(f.host_address, sizeof(f.host_address), "%.45s", copy);
	}
	if (!ok || parse_u64(rest, 0, 65535, &host) < 0 || parse_u64(last, 1, 65535, &guest) < 0)
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no port forward: write [ADDRESS:]HOST:GUEST[/udp], "
				     "as in 8080:80",
				     text);
	f.host_port = (uint16_t)host;
	f.guest_port = (uint16_t)guest;
	*ret = f;
	return 0;
}
