/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

#define RATE_MAX (UINT64_C(1) << 40)

static int read_rules(const struct json_at *at, const char *key, struct policy_rule *list,
		      size_t *n, struct mvm_error *err)
{
	AUTO_DONE(strv) rules = { 0 };
	int r = json_get_strings(at, key, JSON_OPTIONAL, &rules, err);
	for (size_t i = 0; i < rules.n && r >= 0; i++)
		r = policy_add(list, n, rules.v[i], err);
	return r < 0 ? r : 0;
}

static int read_policy(const struct json_at *at, struct policy *ret, struct mvm_error *err)
{
	ret->n_allow = ret->n_deny = 0;
	int r = read_rules(at, "allow", ret->allow, &ret->n_allow, err);
	return r >= 0 ? read_rules(at, "deny", ret->deny, &ret->n_deny, err) : r;
}

static int read_forward(const struct json_at *at, struct usernet_forward *ret,
			struct mvm_error *err)
{
	AUTO_FREE char *address = NULL;
	uint64_t port = 0, guest_port = 0;
	int r = json_get_bool(at, "udp", JSON_REQUIRED, &ret->udp, err);
	if (r >= 0)
		r = json_get_string(at, "address", JSON_REQUIRED, &address, err);
	if (r >= 0)
		r = json_get_u64(at, "port", 1, UINT16_MAX, JSON_REQUIRED, &port, err);
	if (r >= 0)
		r = json_get_u64(at, "guest_port", 1, UINT16_MAX, JSON_REQUIRED, &guest_port, err);
	if (r < 0)
		return r;
	if (strlen(address) >= sizeof(ret->address))
		return json_error(at, "address", err, "too long");
	memcpy(ret->address, address, strlen(address) + 1);
	ret->port = (uint16_t)port;
	ret->guest_port = (uint16_t)guest_port;
	return 0;
}

static int read_forwards(const struct json_at *at, struct usernet_config *ret,
			 struct mvm_error *err)
{
	struct json_at list = { 0 }, item;
	int r = json_get_array(at, "forwards", JSON_OPTIONAL, &list, err);
	if (r < 0 || !list.value)
		return r;
	if (json_array_size(list.value) > GATE_FORWARDS_MAX)
		return json_error(at, "forwards", err, "more than %u", GATE_FORWARDS_MAX);
	for (size_t i = 0; i < json_array_size(list.value) && r >= 0; i++) {
		json_item(&list, i, &item);
		r = read_forward(&item, &ret->forwards[ret->n_forwards++], err);
	}
	return r < 0 ? r : 0;
}

static int read_dns(const struct json_at *at, char ret[RESOLVER_SERVERS_MAX][RESOLVER_ADDRESS_SIZE],
		    size_t *n, struct mvm_error *err)
{
	AUTO_DONE(strv) servers = { 0 };
	int r = json_get_strings(at, "dns", JSON_OPTIONAL, &servers, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < servers.n && *n < RESOLVER_SERVERS_MAX; i++) {
		if (strlen(servers.v[i]) >= RESOLVER_ADDRESS_SIZE)
			return json_error(at, "dns", err, "an address is too long");
		memcpy(ret[(*n)++], servers.v[i], strlen(servers.v[i]) + 1);
	}
	return 0;
}

int usernet_config_read(const char *text, size_t len, struct usernet_config *ret,
			struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;
	memset(ret, 0, sizeof(*ret));
	int r = json_read(text, len, "configuration", &doc, err);
	if (r < 0)
		return r;
	json_root(&root, "configuration", doc);
	r = read_policy(&root, &ret->policy, err);
	if (r >= 0)
		r = read_forwards(&root, ret, err);
	if (r >= 0)
		r = json_get_u64(&root, "bytes_per_s", 0, RATE_MAX, JSON_OPTIONAL,
				 &ret->bytes_per_s, err);
	if (r >= 0)
		r = json_get_u64(&root, "packets_per_s", 0, RATE_MAX, JSON_OPTIONAL,
				 &ret->packets_per_s, err);
	if (r >= 0)
		r = json_get_bool(&root, "resume", JSON_OPTIONAL, &ret->resume, err);
	if (r >= 0)
		r = json_get_bool(&root, "held", JSON_OPTIONAL, &ret->held, err);
	return r < 0 ? r : read_dns(&root, ret->dns, &ret->n_dns, err);
}

int usernet_request_read(const char *text, size_t len, struct usernet_request *ret,
			 struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	struct json_at root, forward;
	memset(ret, 0, sizeof(*ret));
	int r = json_read(text, len, "request", &doc, err);
	if (r < 0)
		return r;
	json_root(&root, "request", doc);
	ret->has_forward = json_object_get(doc, "forward") != NULL;
	ret->has_policy = json_object_get(doc, "allow") || json_object_get(doc, "deny");
	if (ret->has_forward) {
		r = json_get_object(&root, "forward", JSON_REQUIRED, &forward, err);
		if (r >= 0)
			r = read_forward(&forward, &ret->forward, err);
	}
	if (r >= 0 && ret->has_policy)
		r = read_policy(&root, &ret->policy, err);
	return r < 0 ? r : read_dns(&root, ret->dns, &ret->n_dns, err);
}
