/* SPDX-License-Identifier: MIT */
/*
 * Configuration: presets, checks, and the environment. Called by programs and
 * by the runtime's creation, on any thread; nothing is kept here.
 *
 * One table says all there is to say about the fields that hold a number, so
 * that the check, the environment and their texts cannot disagree.
 */
#include "sched/config.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/explain.h"

#define NR_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

enum {
	SHOWN_MAX = 40, /* bytes of a variable's value that a text repeats */
	SHOWN_SIZE = SHOWN_MAX + sizeof("..."),
	/* With a CPU to spare; it halves a lone round trip (measured). */
	IDLE_SPIN_US = 20,
	OFFLOAD_THREADS_LEAST = 4,
#if defined(ZS_DEBUG)
	DEFAULT_FLAGS = ZS_CONFIG_REPORT_LEAKS,
#else
	DEFAULT_FLAGS = 0,
#endif
};

#define FIELD(name) .field = #name, .offset = offsetof(struct zs_config, name)

const struct zs_knob zs_knobs[ZS_NUM_KNOBS] = {
	{ FIELD(num_workers), .variable = "ZSYNC_WORKERS",
	  .advice = "0 takes as many as the CPUs allow",
	  .max = ZS_WORKERS_MAX },
	{ FIELD(queue_depth), .variable = "ZSYNC_QUEUE_DEPTH",
	  .advice = "256 serves most programs", .min = ZS_QUEUE_DEPTH_MIN,
	  .max = ZS_QUEUE_DEPTH_MAX },
	{ FIELD(green_thread_stack_size),
	  .variable = "ZSYNC_GREEN_THREAD_STACK_SIZE",
	  .advice = "65536 serves most programs", .is_size = true,
	  .min = ZS_STACK_SIZE_MIN, .max = ZS_STACK_SIZE_MAX },
	{ FIELD(main_stack_size), .variable = "ZSYNC_MAIN_STACK_SIZE",
	  .advice = "0 is as much as green_thread_stack_size", .is_size = true,
	  .has_zero = true, .min = ZS_STACK_SIZE_MIN,
	  .max = ZS_STACK_SIZE_MAX },
	{ FIELD(max_green_threads), .variable = "ZSYNC_MAX_GREEN_THREADS",
	  .advice = "1048576 is the default", .min = 1,
	  .max = ZS_GREEN_THREADS_MAX },
	{ FIELD(idle_spin_us), .variable = "ZSYNC_IDLE_SPIN_US",
	  .advice = "0 never spins, ZS_IDLE_SPIN_AUTO or \"auto\" decides by"
		    " the CPUs",
	  .has_auto = true, .max = ZS_IDLE_SPIN_MAX_US },
	{ FIELD(stack_cache), .variable = "ZSYNC_STACK_CACHE",
	  .advice = "256 is the default", .max = ZS_GREEN_THREADS_MAX },
	{ FIELD(stall_report_ms), .variable = "ZSYNC_STALL_REPORT_MS",
	  .advice = "0 looks for no stalls, 100 finds what clients notice",
	  .max = ZS_STALL_REPORT_MAX_MS },
	{ FIELD(offload_threads), .variable = "ZSYNC_OFFLOAD_THREADS",
	  .advice = "0 is twice the CPUs, at least 4",
	  .max = ZS_OFFLOAD_THREADS_MAX },
};
static_assert(NR_ELEMENTS(zs_knobs) == ZS_NUM_KNOBS, "");

const struct zs_switch zs_switches[ZS_NUM_SWITCHES] = {
	{ "pin_workers", "ZSYNC_PIN_WORKERS", ZS_CONFIG_PIN_WORKERS },
	{ "dump_on_sigquit", "ZSYNC_DUMP_ON_SIGQUIT",
	  ZS_CONFIG_DUMP_ON_SIGQUIT },
	{ "keep_sigsegv", "ZSYNC_KEEP_SIGSEGV", ZS_CONFIG_KEEP_SIGSEGV },
	{ "unguarded_stacks", "ZSYNC_UNGUARDED_STACKS",
	  ZS_CONFIG_UNGUARDED_STACKS },
	{ "no_deadlock_check", "ZSYNC_NO_DEADLOCK_CHECK",
	  ZS_CONFIG_NO_DEADLOCK_CHECK },
	{ "report_leaks", "ZSYNC_REPORT_LEAKS", ZS_CONFIG_REPORT_LEAKS },
};

static const uint32_t known_flags =
	ZS_CONFIG_PIN_WORKERS | ZS_CONFIG_DUMP_ON_SIGQUIT |
	ZS_CONFIG_KEEP_SIGSEGV | ZS_CONFIG_UNGUARDED_STACKS |
	ZS_CONFIG_NO_DEADLOCK_CHECK | ZS_CONFIG_REPORT_LEAKS;

static const char *const model_names[] = {
	[ZS_MODEL_AUTO] = "auto",
	[ZS_MODEL_GREEN_THREADS] = "green_threads",
	[ZS_MODEL_THREAD_POOL] = "thread_pool",
	[ZS_MODEL_BLOCKING] = "blocking",
};

/* --- the check --- */

uint64_t zs_config_get(const struct zs_config *config,
		       const struct zs_knob *knob)
{
	const void *field = (const char *)config + knob->offset;

	return knob->is_size ? *(const size_t *)field :
			       *(const uint32_t *)field;
}

static void set_field(struct zs_config *config, const struct zs_knob *knob,
		      uint64_t value)
{
	void *field = (char *)config + knob->offset;

	if (knob->is_size)
		*(size_t *)field = (size_t)value;
	else
		*(uint32_t *)field = (uint32_t)value;
}

static bool in_range(const struct zs_knob *knob, uint64_t value)
{
	return (value >= knob->min && value <= knob->max) ||
	       (knob->has_zero && value == 0);
}

/* May the fields be touched at all? */
static int check_size(const struct zs_config *config)
{
	if (!config)
		return zs_explain_as(-EINVAL,
				     "the zs_config is NULL: start from a "
				     "preset such as zs_config_default()");
	if (config->size != sizeof(*config))
		return zs_explain_as(
			-EINVAL,
			"zs_config.size is %zu, this library knows only %zu: "
			"start from a preset such as zs_config_default(), and "
			"compile the program with this library's headers",
			config->size, sizeof(*config));
	return 0;
}

static bool is_model(enum zs_execution_model model)
{
	return (unsigned int)model < NR_ELEMENTS(model_names);
}

static int check_model(enum zs_execution_model model)
{
	if (is_model(model))
		return 0;
	return zs_explain_as(
		-EINVAL,
		"zs_config.execution_model is %d: set ZS_MODEL_AUTO, "
		"ZS_MODEL_GREEN_THREADS, ZS_MODEL_THREAD_POOL or "
		"ZS_MODEL_BLOCKING",
		(int)model);
}

static int check_knob(const struct zs_config *config,
		      const struct zs_knob *knob)
{
	uint64_t value = zs_config_get(config, knob);

	if (in_range(knob, value) ||
	    (knob->has_auto && value == ZS_IDLE_SPIN_AUTO))
		return 0;
	return zs_explain_as(-EINVAL,
			     "zs_config.%s is %llu: set %llu to %llu%s"
			     " (%s)",
			     knob->field, (unsigned long long)value,
			     (unsigned long long)knob->min,
			     (unsigned long long)knob->max,
			     knob->is_size ? " bytes" : "", knob->advice);
}

static int check_preset(uint32_t preset)
{
	if (preset <= ZS_PRESET_FOR_EMBEDDED)
		return 0;
	return zs_explain_as(-EINVAL,
			     "zs_config.preset is %u: start from a preset such "
			     "as zs_config_default() and leave it as it is, 0 "
			     "to %u",
			     preset, ZS_PRESET_FOR_EMBEDDED);
}

static int check_flags(uint32_t flags)
{
	if ((flags & ~known_flags) == 0)
		return 0;
	return zs_explain_as(-EINVAL,
			     "zs_config.flags is 0x%x, of which 0x%x is "
			     "unknown: set ZS_CONFIG_... bits only, 0x0 to "
			     "0x%x",
			     flags, flags & ~known_flags, known_flags);
}

/* --- the environment --- */

/* NULL if it is not set, or empty. */
static const char *get_variable(const char *variable)
{
	const char *value = getenv(variable);

	return value && value[0] != '\0' ? value : NULL;
}

/* What a text may repeat of @value: its start, and nothing that a terminal
 * would obey. */
static void show_value(const char *value, char shown[SHOWN_SIZE])
{
	snprintf(shown, SHOWN_SIZE, "%.*s%s", SHOWN_MAX, value,
		 strlen(value) > SHOWN_MAX ? "..." : "");
	for (; *shown; shown++)
		if ((unsigned char)*shown < ' ' || *shown == 0x7f)
			*shown = '?';
}

/* By how many bits the suffix shifts, if there is one; *length, which is not 0,
 * is then one less. */
static unsigned int take_suffix(const char *text, size_t *length)
{
	switch (text[*length - 1]) {
	case 'K':
	case 'k':
		--*length;
		return 10;
	case 'M':
	case 'm':
		--*length;
		return 20;
	case 'G':
	case 'g':
		--*length;
		return 30;
	default:
		return 0;
	}
}

/* Digits, and a suffix where @has_suffix: nothing else, no sign, no blanks. A
 * number too large for *value is UINT64_MAX: no range has it. */
static bool parse_number(const char *text, bool has_suffix, uint64_t *value)
{
	size_t length = strlen(text);
	unsigned int shift = has_suffix ? take_suffix(text, &length) : 0;
	uint64_t number = 0;

	if (length == 0 || strspn(text, "0123456789") != length)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (number > (UINT64_MAX - 9) / 10) {
			*value = UINT64_MAX;
			return true;
		}
		number = number * 10 + (uint64_t)(text[i] - '0');
	}
	*value = number > UINT64_MAX >> shift ? UINT64_MAX : number << shift;
	return true;
}

static int refuse_number(const struct zs_knob *knob, const char *text,
			 const char *why)
{
	char shown[SHOWN_SIZE];

	show_value(text, shown);
	return zs_explain_as(-EINVAL,
			     "%s is \"%s\", %s: set %llu to %llu%s (%s), or "
			     "unset it",
			     knob->variable, shown, why,
			     (unsigned long long)knob->min,
			     (unsigned long long)knob->max,
			     knob->is_size ? ", suffix K, M or G allowed" : "",
			     knob->advice);
}

/* Each: 1 if the variable is set, 0 if not, or -EINVAL. */

static int override_number(struct zs_config *config, const struct zs_knob *knob)
{
	const char *text = get_variable(knob->variable);
	uint64_t value;

	if (!text)
		return 0;
	if (knob->has_auto && strcmp(text, "auto") == 0) {
		set_field(config, knob, ZS_IDLE_SPIN_AUTO);
		return 1;
	}
	if (!parse_number(text, knob->is_size, &value))
		return refuse_number(knob, text, "which is no number");
	if (!in_range(knob, value))
		return refuse_number(knob, text, "which is out of range");
	set_field(config, knob, value);
	return 1;
}

static int override_model(struct zs_config *config)
{
	const char *name = get_variable(ZS_MODEL_VARIABLE);
	char shown[SHOWN_SIZE];

	if (!name)
		return 0;
	if (zs_execution_model_parse(name, &config->execution_model) == 0)
		return 1;
	show_value(name, shown);
	return zs_explain_as(-EINVAL,
			     "%s is \"%s\", which is no model: set auto, "
			     "green_threads, thread_pool or blocking, or unset "
			     "it",
			     ZS_MODEL_VARIABLE, shown);
}

static int override_flag(struct zs_config *config, const struct zs_switch *flag)
{
	const char *text = get_variable(flag->variable);
	char shown[SHOWN_SIZE];

	if (!text)
		return 0;
	if (strcmp(text, "1") == 0) {
		config->flags |= flag->bit;
		return 1;
	}
	if (strcmp(text, "0") == 0) {
		config->flags &= ~flag->bit;
		return 1;
	}
	show_value(text, shown);
	return zs_explain_as(-EINVAL,
			     "%s is \"%s\", which is neither 0 nor 1: set 1 "
			     "for on, 0 for off, or unset it",
			     flag->variable, shown);
}

/* Stops at the first variable that is wrong. Else *overridden are the settings
 * that have a variable. */
static int override_all(struct zs_config *config, uint32_t *overridden)
{
	int ret = override_model(config);

	*overridden = ret > 0 ? ZS_SETTING_MODEL : 0;
	for (int i = 0; ret >= 0 && i < ZS_NUM_KNOBS; i++) {
		ret = override_number(config, &zs_knobs[i]);
		if (ret > 0)
			*overridden |= ZS_SETTING_KNOB(i);
	}
	for (int i = 0; ret >= 0 && i < ZS_NUM_SWITCHES; i++) {
		ret = override_flag(config, &zs_switches[i]);
		if (ret > 0)
			*overridden |= ZS_SETTING_SWITCH(i);
	}
	return ret < 0 ? ret : 0;
}

/* --- what the runtime asks for --- */

struct zs_config zs_config_of_preset(uint32_t preset)
{
	switch (preset) {
	case ZS_PRESET_OPTIMAL:
		return zs_config_optimal();
	case ZS_PRESET_FOR_SERVER:
		return zs_config_for_server();
	case ZS_PRESET_FOR_CLI:
		return zs_config_for_cli();
	case ZS_PRESET_FOR_EMBEDDED:
		return zs_config_for_embedded();
	default:
		return zs_config_default();
	}
}

int zs_config_take(struct zs_config_origin *origin,
		   const struct zs_config *config)
{
	int ret;

	origin->asked = config ? *config : zs_config_default();
	ret = zs_config_validate(&origin->asked);
	if (ret < 0)
		return ret;
	return override_all(&origin->asked, &origin->overridden);
}

static_assert(ZS_OFFLOAD_THREADS_MAX >= 2 * ZS_WORKERS_MAX, "");

void zs_config_complete(struct zs_config *config, uint32_t num_cpus)
{
	/* On the caller's thread, and no other. */
	if (config->execution_model == ZS_MODEL_BLOCKING)
		config->num_workers = 1;
	if (config->num_workers == 0)
		config->num_workers = num_cpus;
	if (config->idle_spin_us == ZS_IDLE_SPIN_AUTO)
		config->idle_spin_us = num_cpus > 1 ? IDLE_SPIN_US : 0;
	if (config->offload_threads == 0 &&
	    num_cpus * 2 > OFFLOAD_THREADS_LEAST)
		config->offload_threads = num_cpus * 2;
	if (config->offload_threads == 0)
		config->offload_threads = OFFLOAD_THREADS_LEAST;
}

/* --- what programs call --- */

ZS_PUBLIC struct zs_config zs_config_default(void)
{
	return (struct zs_config){
		.size = sizeof(struct zs_config),
		.preset = ZS_PRESET_DEFAULT,
		.execution_model = ZS_MODEL_AUTO,
		.num_workers = 0,
		.queue_depth = 256,
		.green_thread_stack_size = (size_t)64 << 10,
		.max_green_threads = 1048576,
		.idle_spin_us = ZS_IDLE_SPIN_AUTO,
		.stack_cache = 256,
		.stall_report_ms = 0,
		.offload_threads = 0,
		.flags = DEFAULT_FLAGS,
	};
}

ZS_PUBLIC struct zs_config zs_config_optimal(void)
{
	struct zs_config config = zs_config_default();

	config.preset = ZS_PRESET_OPTIMAL;
	return config;
}

ZS_PUBLIC struct zs_config zs_config_for_server(void)
{
	struct zs_config config = zs_config_default();

	config.preset = ZS_PRESET_FOR_SERVER;
	config.queue_depth = 1024;
	config.stack_cache = 1024;
	return config;
}

ZS_PUBLIC struct zs_config zs_config_for_cli(void)
{
	struct zs_config config = zs_config_default();

	config.preset = ZS_PRESET_FOR_CLI;
	config.execution_model = ZS_MODEL_BLOCKING;
	config.num_workers = 1;
	return config;
}

ZS_PUBLIC struct zs_config zs_config_for_embedded(void)
{
	struct zs_config config = zs_config_default();

	config.preset = ZS_PRESET_FOR_EMBEDDED;
	config.num_workers = 1;
	config.queue_depth = 64;
	config.green_thread_stack_size = (size_t)16 << 10;
	config.stack_cache = 8;
	return config;
}

ZS_PUBLIC int zs_config_validate(const struct zs_config *config)
{
	int ret = check_size(config);

	if (ret < 0)
		return ret;
	ret = check_preset(config->preset);
	if (ret == 0)
		ret = check_model(config->execution_model);
	for (size_t i = 0; ret == 0 && i < ZS_NUM_KNOBS; i++)
		ret = check_knob(config, &zs_knobs[i]);
	return ret < 0 ? ret : check_flags(config->flags);
}

ZS_PUBLIC int zs_config_from_env(struct zs_config *config)
{
	struct zs_config overridden;
	uint32_t settings;
	int ret = check_size(config);

	if (ret < 0)
		return ret;
	overridden = *config;
	ret = override_all(&overridden, &settings);
	if (ret == 0)
		*config = overridden;
	return ret;
}

ZS_PUBLIC const char *zs_execution_model_name(enum zs_execution_model model)
{
	return is_model(model) ? model_names[model] : "unknown";
}

ZS_PUBLIC int zs_execution_model_parse(const char *name,
				       enum zs_execution_model *model)
{
	char shown[SHOWN_SIZE];

	for (size_t i = 0; name && i < NR_ELEMENTS(model_names); i++) {
		if (strcmp(name, model_names[i]) != 0)
			continue;
		*model = (enum zs_execution_model)i;
		return 0;
	}
	show_value(name ? name : "NULL", shown);
	return zs_explain_as(-EINVAL,
			     "\"%s\" is no execution model: give auto, "
			     "green_threads, thread_pool or blocking",
			     shown);
}
