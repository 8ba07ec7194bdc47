package dev.taskbundler.app.report

import dev.taskbundler.app.R
import dev.taskbundler.core.findings.FindingCode

/** The sentence for what can be found wrong with a file. */
internal fun findingSentence(code: FindingCode): Int = when (code) {
    FindingCode.NOT_A_KNOWN_FILE -> R.string.finding_not_a_known_file
    FindingCode.FILE_TRUNCATED -> R.string.finding_file_truncated
    FindingCode.ZIP_DIRECTORY_DAMAGED -> R.string.finding_zip_directory_damaged
    FindingCode.ENTRY_COMPRESSED -> R.string.finding_entry_compressed
    FindingCode.ENTRY_ENCRYPTED -> R.string.finding_entry_encrypted
    FindingCode.ENTRY_MISALIGNED -> R.string.finding_entry_misaligned
    FindingCode.ENTRY_MISSING -> R.string.finding_entry_missing
    FindingCode.ENTRY_DUPLICATED -> R.string.finding_entry_duplicated
    FindingCode.ENTRY_OVERLAP -> R.string.finding_entry_overlap
    FindingCode.ENTRY_OUTSIDE_FILE -> R.string.finding_entry_outside_file
    FindingCode.ENTRY_NAME_PATH -> R.string.finding_entry_name_path
    FindingCode.ENTRY_HEADER_MISMATCH -> R.string.finding_entry_header_mismatch
    FindingCode.ENTRY_CHECKSUM_WRONG -> R.string.finding_entry_checksum_wrong
    FindingCode.CONTAINER_VERSION_UNSUPPORTED -> R.string.finding_container_version_unsupported
    FindingCode.CONTAINER_HEADER_UNREADABLE -> R.string.finding_container_header_unreadable
    FindingCode.SECTION_MISSING -> R.string.finding_section_missing
    FindingCode.SECTION_DUPLICATED -> R.string.finding_section_duplicated
    FindingCode.SECTION_OVERLAP -> R.string.finding_section_overlap
    FindingCode.SECTION_OUTSIDE_FILE -> R.string.finding_section_outside_file
    FindingCode.SECTION_MISALIGNED -> R.string.finding_section_misaligned
    FindingCode.METADATA_UNREADABLE -> R.string.finding_metadata_unreadable
    FindingCode.STOP_TOKEN_MISSING -> R.string.finding_stop_token_missing
    FindingCode.TOKEN_EMPTY -> R.string.finding_token_empty
    FindingCode.TOKENIZER_UNREADABLE -> R.string.finding_tokenizer_unreadable
    FindingCode.MODEL_UNREADABLE -> R.string.finding_model_unreadable
    FindingCode.MODEL_WEB_ONLY -> R.string.finding_model_web_only
    FindingCode.SIGNATURES_MISSING -> R.string.finding_signatures_missing
    FindingCode.LORA_RANK_UNSUPPORTED -> R.string.finding_lora_rank_unsupported
    FindingCode.LORA_INPUTS_INCOMPLETE -> R.string.finding_lora_inputs_incomplete
    FindingCode.LORA_SIGNATURE_SHADOWS_BASE -> R.string.finding_lora_signature_shadows_base
    FindingCode.ADAPTER_UNREADABLE -> R.string.finding_adapter_unreadable
    FindingCode.ADAPTER_LAYOUT_IGNORED -> R.string.finding_adapter_layout_ignored
    FindingCode.ADAPTER_RANK_MISSING -> R.string.finding_adapter_rank_missing
    FindingCode.ADAPTER_RANK_WRONG -> R.string.finding_adapter_rank_wrong
    FindingCode.ADAPTER_TENSOR_MISSING -> R.string.finding_adapter_tensor_missing
    FindingCode.ADAPTER_TENSOR_EXTRA -> R.string.finding_adapter_tensor_extra
    FindingCode.ADAPTER_TENSOR_MISSHAPEN -> R.string.finding_adapter_tensor_misshapen
    FindingCode.ADAPTER_NOT_FINITE -> R.string.finding_adapter_not_finite
    FindingCode.ADAPTER_SIZE_NO_PAGE_MULTIPLE -> R.string.finding_adapter_size_no_page_multiple
    FindingCode.MANIFEST_UNREADABLE -> R.string.finding_manifest_unreadable
    FindingCode.MANIFEST_CONTRADICTS -> R.string.finding_manifest_contradicts
    FindingCode.APP_KIND_UNUSED -> R.string.finding_app_kind_unused
    FindingCode.APP_SOURCE_FAILED -> R.string.finding_app_source_failed
    FindingCode.APP_SOURCE_ENDED_EARLY -> R.string.finding_app_source_ended_early
    FindingCode.APP_HASH_DIFFERS -> R.string.finding_app_hash_differs
    FindingCode.APP_SUMS_UNREADABLE -> R.string.finding_app_sums_unreadable
    FindingCode.APP_STORAGE_FULL -> R.string.finding_app_storage_full
    FindingCode.APP_STORAGE_FAILED -> R.string.finding_app_storage_failed
    FindingCode.APP_ITEM_GONE -> R.string.finding_app_item_gone
    FindingCode.APP_ADAPTER_OTHER_BASE -> R.string.finding_app_adapter_other_base
    FindingCode.APP_ADAPTER_OTHER_SHAPE -> R.string.finding_app_adapter_other_shape
    FindingCode.APP_ADAPTER_RANK_UNSUPPORTED -> R.string.finding_app_adapter_rank_unsupported
    FindingCode.APP_BUNDLE_WITHOUT_ADAPTERS -> R.string.finding_app_bundle_without_adapters
    FindingCode.APP_LITERTLM_WITHOUT_LORA -> R.string.finding_app_litertlm_without_lora
    FindingCode.APP_LITERTLM_NOT_MERGED -> R.string.finding_app_litertlm_not_merged
    FindingCode.APP_BUNDLE_MERGED -> R.string.finding_app_bundle_merged
    FindingCode.APP_ADAPTER_TOO_STRONG -> R.string.finding_app_adapter_too_strong
    FindingCode.APP_TRAINER_UNREADABLE -> R.string.finding_app_trainer_unreadable
    FindingCode.APP_TRAINER_OTHER_MODEL -> R.string.finding_app_trainer_other_model
    FindingCode.APP_TRAINER_RANK_UNUSED -> R.string.finding_app_trainer_rank_unused
    FindingCode.APP_TRAINER_NO_TOKENIZER -> R.string.finding_app_trainer_no_tokenizer
}
