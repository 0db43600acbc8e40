/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/net_news.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/parse.h"
#include "base/str.h"
#include "codec/json.h"

#define COUNT_MAX (UINT64_C(1) << 48)

static const char *one_of(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(word, words[i]))
			return words[i];
	return NULL;
}

/* Is it a numeric address, or could it be a name? */
static bool is_target(const char *text, bool name)
{
	if (name)
		return text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_.")] == '\0';
	return parse_address_ok(text);
}

static int read_refusal(const struct json_at *at, struct vmm_refusal *ret)
{
	static const char *const protocols[] = { "tcp", "udp", "icmp", "dns" };
	static const char *const reasons[] = { "denied", "private", "special", "host" };
	AUTO_FREE char *target = NULL;
	AUTO_FREE char *protocol = NULL;
	AUTO_FREE char *reason = NULL;
	uint64_t port = 0;
	if (json_get_string(at, "target", JSON_REQUIRED, &target, NULL) < 0 ||
	    json_get_string(at, "protocol", JSON_REQUIRED, &protocol, NULL) < 0 ||
	    json_get_string(at, "reason", JSON_REQUIRED, &reason, NULL) < 0 ||
	    json_get_u64(at, "port", 0, UINT16_MAX, JSON_REQUIRED, &port, NULL) < 0 ||
	    json_get_u64(at, "count", 1, COUNT_MAX, JSON_REQUIRED, &ret->count, NULL) < 0)
		return -EBADMSG;
	ret->protocol = one_of(protocol, protocols, MVM_ARRAY_SIZE(protocols));
	ret->reason = one_of(reason, reasons, MVM_ARRAY_SIZE(reasons));
	ret->port = (uint16_t)port;
	size_t len = strlen(target);
	if (!ret->protocol || !ret->reason || len == 0 || len >= sizeof(ret->target) ||
	    !is_target(target, str_eq(protocol, "dns")))
		return -EBADMSG;
	memcpy(ret->target, target, len + 1);
	return 0;
}

int net_news_read(json_t *doc, uint64_t *known, struct vmm_network_news *ret,
		  struct vmm_refusal refusals[VMM_REFUSALS_MAX])
{
	struct json_at root, list, item;
	uint64_t total = 0;
	json_root(&root, "report", doc);
	if (json_get_u64(&root, "refused", *known, COUNT_MAX, JSON_REQUIRED, &total, NULL) < 0 ||
	    json_get_array(&root, "refusals", JSON_REQUIRED, &list, NULL) < 0 ||
	    json_array_size(list.value) > VMM_REFUSALS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < json_array_size(list.value); i++) {
		json_item(&list, i, &item);
		if (read_refusal(&item, &refusals[i]) < 0)
			return -EBADMSG;
	}
	if (json_get_bool(&root, "visited", JSON_OPTIONAL, &ret->visited, NULL) < 0)
		return -EBADMSG;
	ret->refusals = refusals;
	ret->n = json_array_size(list.value);
	ret->n_refused = total - *known;
	*known = total;
	return 0;
}
