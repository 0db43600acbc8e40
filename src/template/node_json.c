/* SPDX-License-Identifier: Apache-2.0 */
/* This host as JSON. */
#include <mvm/node.h>

#include "codec/json.h"

static void put_text(struct json_out *out, json_t *o, const char *key, const char *text)
{
	if (text && *text)
		json_put_text(out, o, key, text); /* a backend's or a path's own words */
	else
		json_put(out, o, key, json_null());
}

static json_t *template_json(struct json_out *out, const struct mvm_node_template *t)
{
	json_t *o = json_new(out);
	put_text(out, o, "template_id", t->template_id);
	put_text(out, o, "revision_hash", t->revision);
	put_text(out, o, "digest", t->digest);
	json_put(out, o, "has_snapshot", json_boolean(t->has_snapshot));
	put_text(out, o, "start", mvm_start_outlook_name(t->start));
	put_text(out, o, "reason", t->reason);
	json_put_u64(out, o, "disk_bytes", t->disk_bytes);
	return o;
}

int mvm_node_json(const struct mvm_node *n, char **ret, struct mvm_error *err)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out), *templates = json_array();

	put_text(&out, o, "arch", n->arch);
	put_text(&out, o, "backend", n->backend);
	put_text(&out, o, "backend_version", n->backend_version);
	put_text(&out, o, "problem", n->problem);
	json_put(&out, o, "kvm", json_boolean(n->kvm));
	put_text(&out, o, "cpu_hash", n->cpu_hash);
	put_text(&out, o, "backend_hash", n->backend_hash);
	json_put_u64(&out, o, "cpus", n->cpus);
	json_put_u64(&out, o, "mem_bytes", n->mem_bytes);
	json_put_u64(&out, o, "mem_available_bytes", n->mem_available_bytes);
	json_put_u64(&out, o, "disk_bytes", n->disk_bytes);
	json_put_u64(&out, o, "disk_free_bytes", n->disk_free_bytes);
	json_put_u64(&out, o, "running", n->n_running);
	json_put_u64(&out, o, "running_vcpus", n->running_vcpus);
	json_put_u64(&out, o, "running_mem_mib", n->running_mem_mib);
	for (size_t i = 0; i < n->n_templates; i++)
		out.failed |= json_array_append_new(templates,
						    template_json(&out, n->templates[i])) < 0;
	json_put(&out, o, "templates", templates);
	return json_out_text(&out, o, JSON_TEXT_PRETTY, ret, err);
}
