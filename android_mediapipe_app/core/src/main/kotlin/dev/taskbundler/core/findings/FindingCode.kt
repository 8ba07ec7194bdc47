package dev.taskbundler.core.findings

/** What can be found wrong; [id] is stable. */
enum class FindingCode(val id: String) {
    // Files: these are the doctor's, explained in docs/FINDINGS.md.
    NOT_A_KNOWN_FILE("not-a-known-file"),
    FILE_TRUNCATED("file-truncated"),
    ZIP_DIRECTORY_DAMAGED("zip-directory-damaged"),
    ENTRY_COMPRESSED("entry-compressed"),
    ENTRY_ENCRYPTED("entry-encrypted"),
    ENTRY_MISALIGNED("entry-misaligned"),
    ENTRY_MISSING("entry-missing"),
    ENTRY_DUPLICATED("entry-duplicated"),
    ENTRY_OVERLAP("entry-overlap"),
    ENTRY_OUTSIDE_FILE("entry-outside-file"),
    ENTRY_NAME_PATH("entry-name-path"),
    ENTRY_HEADER_MISMATCH("entry-header-mismatch"),
    ENTRY_CHECKSUM_WRONG("entry-checksum-wrong"),
    CONTAINER_VERSION_UNSUPPORTED("container-version-unsupported"),
    CONTAINER_HEADER_UNREADABLE("container-header-unreadable"),
    SECTION_MISSING("section-missing"),
    SECTION_DUPLICATED("section-duplicated"),
    SECTION_OVERLAP("section-overlap"),
    SECTION_OUTSIDE_FILE("section-outside-file"),
    SECTION_MISALIGNED("section-misaligned"),
    METADATA_UNREADABLE("metadata-unreadable"),
    STOP_TOKEN_MISSING("stop-token-missing"),
    TOKEN_EMPTY("token-empty"),
    TOKENIZER_UNREADABLE("tokenizer-unreadable"),
    MODEL_UNREADABLE("model-unreadable"),
    MODEL_WEB_ONLY("model-web-only"),
    SIGNATURES_MISSING("signatures-missing"),
    LORA_RANK_UNSUPPORTED("lora-rank-unsupported"),
    LORA_INPUTS_INCOMPLETE("lora-inputs-incomplete"),
    LORA_SIGNATURE_SHADOWS_BASE("lora-signature-shadows-base"),
    ADAPTER_UNREADABLE("adapter-unreadable"),
    ADAPTER_LAYOUT_IGNORED("adapter-layout-ignored"),
    ADAPTER_RANK_MISSING("adapter-rank-missing"),
    ADAPTER_RANK_WRONG("adapter-rank-wrong"),
    ADAPTER_TENSOR_MISSING("adapter-tensor-missing"),
    ADAPTER_TENSOR_EXTRA("adapter-tensor-extra"),
    ADAPTER_TENSOR_MISSHAPEN("adapter-tensor-misshapen"),
    ADAPTER_NOT_FINITE("adapter-not-finite"),
    ADAPTER_SIZE_NO_PAGE_MULTIPLE("adapter-size-no-page-multiple"),
    MANIFEST_UNREADABLE("manifest-unreadable"),
    MANIFEST_CONTRADICTS("manifest-contradicts"),

    // What only happens in an app: importing, keeping and merging.

    /** A sound file of a kind that this app has no use for. */
    APP_KIND_UNUSED("app-kind-unused"),

    /** Whoever offers the file does not open it, or stops in the middle: the file vanished, a drive was pulled. */
    APP_SOURCE_FAILED("app-source-failed"),

    /** Fewer bytes came than were announced. */
    APP_SOURCE_ENDED_EARLY("app-source-ended-early"),

    /** SHA256SUMS lists another hash for a file of this name. */
    APP_HASH_DIFFERS("app-hash-differs"),

    /** SHA256SUMS has a line that is no hash and name. */
    APP_SUMS_UNREADABLE("app-sums-unreadable"),

    /** No room for a copy. */
    APP_STORAGE_FULL("app-storage-full"),

    /** The app's storage cannot be read or written. */
    APP_STORAGE_FAILED("app-storage-failed"),

    /** A file was deleted while it was to be used. */
    APP_ITEM_GONE("app-item-gone"),

    /** The adapter was trained on other weights: another fingerprint, same shape. */
    APP_ADAPTER_OTHER_BASE("app-adapter-other-base"),

    /** The adapter has another number of layers, width or scale of attention scores than the bundle. */
    APP_ADAPTER_OTHER_SHAPE("app-adapter-other-shape"),

    /** The bundle has no signatures for the adapter's rank, so an engine could not take it beside the weights. */
    APP_ADAPTER_RANK_UNSUPPORTED("app-adapter-rank-unsupported"),

    /** The bundle says nothing about adapters, or why none can be merged into it. */
    APP_BUNDLE_WITHOUT_ADAPTERS("app-bundle-without-adapters"),

    /** The model of a .litertlm takes no adapters: it was built without inputs for them. */
    APP_LITERTLM_WITHOUT_LORA("app-litertlm-without-lora"),

    /** Adapters are merged into a .task only. */
    APP_LITERTLM_NOT_MERGED("app-litertlm-not-merged"),

    /** An adapter is merged into the bundle already. */
    APP_BUNDLE_MERGED("app-bundle-merged"),

    /** A merged weight would not be finite in the bundle's type. */
    APP_ADAPTER_TOO_STRONG("app-adapter-too-strong"),

    /** A trainer file that does not say what a training needs to know, or whose signatures are others. */
    APP_TRAINER_UNREADABLE("app-trainer-unreadable"),

    /** The trainer was made from another model than the bundle. */
    APP_TRAINER_OTHER_MODEL("app-trainer-other-model"),

    /** Adapters of the trainer's rank cannot be used with the bundle. */
    APP_TRAINER_RANK_UNUSED("app-trainer-rank-unused"),

    /** No bundle of the trainer's model has a tokenizer that the app can read. */
    APP_TRAINER_NO_TOKENIZER("app-trainer-no-tokenizer"),
}
