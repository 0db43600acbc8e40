/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "usernet/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A rule, a configuration and a request are each accepted, or refused with a message. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct usernet_config config;
	static struct usernet_request request;
	struct policy_rule rule;
	struct mvm_error err;
	char text[512];
	size_t len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	memcpy(text, data, len);
	text[len] = '\0';
	if (policy_rule_parse(text, &rule, &err) < 0 ? !err.text[0]
						     : rule.first > rule.last || rule.bits > 128)
		abort();
	if (usernet_config_read((const char *)data, size, &config, &err) == 0 &&
	    config.n_forwards > GATE_FORWARDS_MAX)
		abort();
	if (usernet_request_read((const char *)data, size, &request, &err) < 0 && !err.text[0])
		abort();
	return 0;
}
