package dev.taskbundler.verify

import org.objectweb.asm.ClassReader
import org.objectweb.asm.ClassVisitor
import org.objectweb.asm.ClassWriter
import org.objectweb.asm.Label
import org.objectweb.asm.MethodVisitor
import org.objectweb.asm.Opcodes

/** One instruction of a class that can be changed for the worse: the [number]th such instruction, at a [line] of the source. */
class Mutation(val className: String, val source: String, val number: Int, val line: Int, val method: String, val what: String) {
    override fun toString() = "$source:$line $method: $what"
}

/** Each operator and what stands in for it: other arithmetic, a bound one off, the opposite condition. */
private val STAND_INS = mapOf(
    Opcodes.IADD to Opcodes.ISUB, Opcodes.ISUB to Opcodes.IADD, Opcodes.IMUL to Opcodes.IADD, Opcodes.IDIV to Opcodes.IMUL,
    Opcodes.LADD to Opcodes.LSUB, Opcodes.LSUB to Opcodes.LADD, Opcodes.LMUL to Opcodes.LADD,
    Opcodes.FADD to Opcodes.FSUB, Opcodes.FSUB to Opcodes.FADD, Opcodes.FMUL to Opcodes.FDIV, Opcodes.FDIV to Opcodes.FMUL,
    Opcodes.DADD to Opcodes.DSUB, Opcodes.DSUB to Opcodes.DADD, Opcodes.DMUL to Opcodes.DDIV, Opcodes.DDIV to Opcodes.DMUL,
    Opcodes.IAND to Opcodes.IOR, Opcodes.IOR to Opcodes.IAND, Opcodes.LAND to Opcodes.LOR, Opcodes.LOR to Opcodes.LAND,
    Opcodes.ISHL to Opcodes.ISHR, Opcodes.ISHR to Opcodes.ISHL, Opcodes.IUSHR to Opcodes.ISHL, Opcodes.LSHL to Opcodes.LSHR,
    Opcodes.IFLT to Opcodes.IFLE, Opcodes.IFLE to Opcodes.IFLT, Opcodes.IFGE to Opcodes.IFGT, Opcodes.IFGT to Opcodes.IFGE,
    Opcodes.IF_ICMPLT to Opcodes.IF_ICMPLE, Opcodes.IF_ICMPLE to Opcodes.IF_ICMPLT,
    Opcodes.IF_ICMPGE to Opcodes.IF_ICMPGT, Opcodes.IF_ICMPGT to Opcodes.IF_ICMPGE,
    Opcodes.IFEQ to Opcodes.IFNE, Opcodes.IFNE to Opcodes.IFEQ, Opcodes.IF_ICMPEQ to Opcodes.IF_ICMPNE, Opcodes.IF_ICMPNE to Opcodes.IF_ICMPEQ,
)

/** What the compiler writes by itself, which no test is about. */
private val GENERATED = Regex("equals|hashCode|toString|copy|component\\d+|<clinit>|.*\\\$default|values|valueOf")

/** Every mutation of a class whose source has [lines] lines. */
fun mutationsOf(bytes: ByteArray, lines: Int): List<Mutation> = ArrayList<Mutation>().also { mutations ->
    ClassReader(bytes).accept(Mutator(ClassWriter(0), lines, -1) { mutations.add(it) }, 0)
}

/** The class with one [mutation]. */
fun mutated(bytes: ByteArray, lines: Int, mutation: Mutation): ByteArray {
    val writer = ClassWriter(0)
    ClassReader(bytes).accept(Mutator(writer, lines, mutation.number) {}, 0)
    return writer.toByteArray()
}

/** Passes a class on to [writer]; changes the [chosen]th place and reports them all. */
private class Mutator(writer: ClassWriter, private val lines: Int, private val chosen: Int, private val found: (Mutation) -> Unit) :
    ClassVisitor(Opcodes.ASM9, writer) {
    private var className = ""
    private var source = ""
    private var number = 0

    override fun visit(version: Int, access: Int, name: String, signature: String?, superName: String?, interfaces: Array<out String>?) {
        className = name
        super.visit(version, access, name, signature, superName, interfaces)
    }

    override fun visitSource(source: String?, debug: String?) {
        this.source = className.substringBeforeLast('/') + "/" + source
        super.visitSource(source, debug)
    }

    override fun visitMethod(access: Int, name: String, descriptor: String, signature: String?, exceptions: Array<out String>?): MethodVisitor {
        val plain = super.visitMethod(access, name, descriptor, signature, exceptions)
        return if (GENERATED.matches(name) || access and Opcodes.ACC_BRIDGE != 0) plain else MutatingMethod(plain, name)
    }

    private inner class MutatingMethod(plain: MethodVisitor, private val method: String) : MethodVisitor(Opcodes.ASM9, plain) {
        private var line = 0

        override fun visitLineNumber(line: Int, start: Label) {
            this.line = line
            super.visitLineNumber(line, start)
        }

        /** Whether this place is the one to be changed. Lines after the last are code that was inlined from elsewhere. */
        private fun chosen(what: String): Boolean {
            if (line !in 1..lines) return false
            found(Mutation(className, source, number, line, method, what))
            return number++ == chosen
        }

        override fun visitInsn(opcode: Int) {
            val constant = opcode - Opcodes.ICONST_0
            val standIn = STAND_INS[opcode]
            when {
                constant in 0..4 && chosen("$constant becomes ${constant + 1}") -> super.visitInsn(opcode + 1)
                standIn != null && chosen("operator $opcode becomes $standIn") -> super.visitInsn(standIn)
                else -> super.visitInsn(opcode)
            }
        }

        override fun visitIntInsn(opcode: Int, operand: Int) {
            val number = opcode != Opcodes.NEWARRAY && operand < Byte.MAX_VALUE
            super.visitIntInsn(opcode, if (number && chosen("$operand becomes ${operand + 1}")) operand + 1 else operand)
        }

        override fun visitLdcInsn(value: Any) {
            val other = when (value) {
                is Int -> value + 1
                is Long -> value + 1
                is Float -> value * 2
                is Double -> value * 2
                else -> null
            }
            super.visitLdcInsn(if (other != null && chosen("$value becomes $other")) other else value)
        }

        override fun visitJumpInsn(opcode: Int, label: Label) {
            val standIn = STAND_INS[opcode]
            super.visitJumpInsn(if (standIn != null && chosen("condition $opcode becomes $standIn")) standIn else opcode, label)
        }
    }
}
